"""The dialplan in which an Asterisk listens to who has answered: calls are sent there, and come back to the application
that sent them. The managed Asterisk has it; an Asterisk of the user's own needs the same lines.
"""

from __future__ import annotations

from typing import Final

CONTEXT: Final = "outdial-detection"

WHO: Final = "who"
"""Extension that runs AMD()."""
BEEP: Final = "beep"
"""Extension that waits until a greeting is over."""

MODULES: Final = ("app_amd.so", "app_waitforsilence.so")
"""What its lines need, beside what every Asterisk for outdial has."""

APP_VARIABLE: Final = "DETECTION_APP"
ARGUMENTS_VARIABLE: Final = "DETECTION_ARGUMENTS"

DETECTION: Final = f"""\
[{CONTEXT}]
exten = {WHO},1,AMD(${{{ARGUMENTS_VARIABLE}}})
 same = n,Stasis(${{{APP_VARIABLE}}},{WHO},${{AMDSTATUS}},${{AMDCAUSE}})
 same = n,Hangup()
exten = {BEEP},1,WaitForSilence(${{{ARGUMENTS_VARIABLE}}})
 same = n,Stasis(${{{APP_VARIABLE}}},{BEEP},${{WAITSTATUS}})
 same = n,Hangup()
"""
