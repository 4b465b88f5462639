/*
 * The stop protocol of outdial in Promela, for the model checker Spin. What is left out and why that is sound, bounds,
 * and what was found: model.md beside this file. `make model` checks it all.
 *
 * How to read it. Whatever has a state is one of five things, and stands in state.pml: the run (a row), its contacts, a
 * node (its row, its lease, what its process is about to do, its one call), a permit (at the engine or on its way
 * there), the stop. Each `::` of a process is one step that nothing comes between: one statement of the database, one
 * request that an engine carries out, one thing that a process does between two waits. Steps happen in any order, so a
 * frozen process, a slow network or a stalled engine needs no rule: its next step is just not taken yet.
 *
 * Time. Nothing counts from zero. What lives for a while holds how many ticks are left, also while it is on its way or
 * in the memory of a frozen process, and a tick takes one from all of it at once. So all that is assumed of clocks is
 * what the code assumes: that they go equally fast, and that an engine's is off by no more than SKEW.
 *
 * Epochs, runs and keys are not numbered either. Each thing knows whether its epoch is the run's present one, and
 * whether its run is over; a key's slot is used again once nothing refers to it. So any number of pauses, runs, permits
 * and lives of nodes fits into finitely many states.
 *
 * What may happen besides looking, dialing and stopping is chosen by flags:
 *   ALONE    there is one node only
 *   MOVES    the event stream is lost, or the trunk has another address: a node needs another permit
 *   DEATHS   nodes die, are adopted, and come back as new ones
 *   LOSSES   database sessions are lost and requests time out, though they arrive still
 *   PAUSES   people pause and resume
 *   STARTS   a run that is over is followed by another
 *   RETRIES  whoever did not answer is called again
 *   RESTARTS engines restart and forget their permits
 *   CUTS     a stop does not reach an engine and begins there anew; its process dies and another finishes it
 *   GONE     a stop never reaches an engine and a person says so: it relies on expiry alone
 *   LEAVES   nodes leave in order; the last one of an engine has it forgotten
 *   LETRING  a stop lets ring what rings
 */
#include "state.pml"

/*
 * A dialer node `n`; the other one is `o`. dialer.lease, dialer.worker, dialer.claim, dialer.adoption.
 */
#define ABLE(n) (node[n].alive && !node[n].over)
#define ITS_PUT permit[SLOT(n, node[n].put_key)]
#define ITS_USE permit[SLOT(n, node[n].use - 1)]

proctype Dialer(byte n; byte o) {
    do
    /* The lease keeper: it notes the instant, renews its lease, then reads the runs. */
    :: d_step { ABLE(n) && !node[n].ended && !node[n].looks && (node[n].gate < TTL || node[n].lease < TTL) ->
        printf("node %d looks\n", n);
        node[n].looks = 1; node[n].seen = TTL; node[n].lease = TTL;
        node[n].saw_active = (run_is == ACTIVE); node[n].saw_present = 1; node[n].saw_own = node[n].present }
    /* It applies what it saw: the gate is open until TTL after it asked; or the worker is closed; or one is begun. */
    :: d_step { ABLE(n) && node[n].looks ->
        printf("node %d applies what it saw\n", n);
        if
        :: node[n].works && node[n].saw_active && node[n].saw_own -> node[n].gate = node[n].seen
        :: node[n].works && !(node[n].saw_active && node[n].saw_own) ->
            node[n].gate = 0;
            if
            :: node[n].put == P_NONE && node[n].dial == D_NONE && node[n].call != C_WRITTEN ->
                node[n].works = 0; node[n].present = 0;
                node[n].use = (NO_EPOCHS -> node[n].use : 0)
            :: else
            fi
        :: !node[n].works && node[n].saw_active ->
            node[n].works = 1; node[n].present = node[n].saw_present; node[n].gate = node[n].seen
        :: else
        fi;
        no_look(n) }
    :: d_step { ABLE(n) && node[n].ended ->
        printf("node %d learns that its life is over\n", n);
        node[n].over = 1; node[n].gate = 0; no_look(n) }

    /* Putting a permit. First the note, in the transaction that finds the run active under its lock. */
    :: d_step { ABLE(n) && node[n].works && node[n].gate > 0 && node[n].use == 0 && node[n].put == P_NONE &&
            run_is == ACTIVE && node[n].present && !node[n].ended && (FREE(n, 0) || FREE(n, 1)) ->
        printf("node %d finds the run active and is about to note a permit\n", n);
        node[n].put_key = (FREE(n, 0) -> 0 : 1);
        ITS_PUT.life = LIFE; ITS_PUT.old = 0; ITS_PUT.stale = 0;
#if !NO_KEYS
        ITS_PUT.endpoint = 0;
#endif
        node[n].put = P_LOCKED }
    :: d_step { node[n].alive && node[n].put == P_LOCKED ->
        printf("node %d has noted it, and sends the requests that put it\n", n);
        node[n].put = P_SENT; node[n].note = LIFE; engine[ENGINE(n)].noted = 1; ITS_PUT.wire = W_FIRST }
    /* Then the note is cleared. A permit whose note has run out is not used. */
    :: d_step { node[n].alive && node[n].put == P_SENT && ITS_PUT.wire == 0 ->
        printf("node %d clears its note (%d left of it)\n", n, node[n].note);
        node[n].use = (node[n].note > 0 || LATE_PUTS_SERVE || NO_NOTES -> node[n].put_key + 1 : 0);
        node[n].note = 0; node[n].put = P_NONE; node[n].put_key = 0 }
    /* Renewing: the contact alone, with what is left since the look that opened the gate. */
    :: d_step { ABLE(n) && node[n].gate > 0 && node[n].use > 0 && node[n].put == P_NONE &&
            ITS_USE.renewal < node[n].gate + SKEW && ITS_USE.contact < node[n].gate + SKEW ->
        printf("node %d sends a renewal\n", n);
        ITS_USE.renewal = node[n].gate + SKEW }

    /* A claim: one function of the database, which takes the run's lock and looks after it. */
    :: d_step { ABLE(n) && node[n].works && node[n].gate > 0 && node[n].use > 0 && node[n].dial == D_NONE &&
            node[n].call == C_NONE && !node[n].live && !node[n].ended &&
            (CLAIM_BELIEVES_LOOK || run_is == ACTIVE && node[n].present) &&
            (TO_BE_CALLED(0, o) || TO_BE_CALLED(CONTACTS - 1, o)) ->
        node[n].dial_to = (TO_BE_CALLED(0, o) -> 0 : CONTACTS - 1);
        printf("node %d claims contact %d\n", n, node[n].dial_to);
        reserved_for_a_run_not_active = run_is != ACTIVE || !node[n].present;
        assert(!reserved_for_a_run_not_active);
        contact[node[n].dial_to].is = TAKEN;
        node[n].dial = D_CLAIMED; node[n].dial_key = node[n].use - 1; node[n].dial_mixed = ITS_USE.stale;
        node[n].live = 1; node[n].live_to = node[n].dial_to; node[n].live_now = 1; node[n].watched = 1 }
    /* The gate is looked at and the request written in one instant, and yet a process can be stopped in between. */
    :: d_step { node[n].alive && node[n].dial == D_CLAIMED && node[n].use > 0 && node[n].dial_key != node[n].use - 1 ->
        printf("node %d will place its call under the permit it has put since\n", n);
        node[n].dial_key = node[n].use - 1 }
    :: d_step { node[n].alive && node[n].dial == D_CLAIMED && GATE_OPEN(n) ->
        printf("node %d finds its gate open\n", n);
        node[n].dial = D_CHECKED }
    :: d_step { node[n].alive && node[n].dial == D_CLAIMED && !GATE_OPEN(n) ->
        printf("node %d finds its gate shut and puts the contact back\n", n);
        no_dial(n); book(n, PENDING) }
    :: d_step { node[n].alive && node[n].dial == D_CHECKED ->
        printf("node %d writes the request to place the call\n", n);
        node[n].call = C_WRITTEN; node[n].call_key = node[n].dial_key; node[n].call_to = node[n].dial_to;
        node[n].call_run = node[n].dial_run; node[n].call_mixed = node[n].dial_mixed; no_dial(n) }

#ifdef MOVES
    /* The event stream was lost, or the trunk has another address now: another permit must be put. */
    :: d_step { ABLE(n) && node[n].gate > 0 && node[n].use > 0 && node[n].put == P_NONE ->
        printf("node %d needs another permit\n", n);
        node[n].use = 0 }
#endif
#ifdef LOSSES
    /* The session is lost, or the engine too slow. What was sent arrives; the note runs out by itself. */
    :: d_step { node[n].alive && node[n].put != P_NONE ->
        printf("node %d loses its session while it puts a permit\n", n);
#if NO_NOTES                      /* the lock is gone with it, and nobody notices before the next statement */
        node[n].note = 0 }
#else
        node[n].put = P_NONE; node[n].put_key = 0 }
#endif
    :: d_step { node[n].alive && node[n].dial == D_CLAIMED ->
        printf("node %d never hears that it has claimed\n", n);
        node[n].dial = D_LOST }
    :: d_step { ABLE(n) && node[n].dial == D_LOST ->
        printf("node %d gives back what it never heard of\n", n);
        no_dial(n); book(n, PENDING) }
#endif
#if defined(DEATHS) || defined(LEAVES)
    /* Adopting the other node: its row is ended, then its permits are removed, then its attempt is settled. */
    :: d_step { ABLE(n) && !node[n].ended && node[n].adopts == 0 &&
            ((!node[o].ended && node[o].lease == 0) || (node[o].ended && node[o].live)) ->
        printf("node %d takes node %d over\n", n, o);
        node[o].ended = 1; node[n].adopts = 1 }
    :: d_step { ABLE(n) && node[n].adopts == 1 && node[o].live && node[o].note == 0 ->
        printf("node %d removes the permits of node %d\n", n, o);
        remove(!NO_ADOPTER_REMOVAL && OWN(o, i));
        node[n].adopts = 2 }
    :: d_step { ABLE(n) && node[n].adopts == 2 && !node[o].live ->
        printf("node %d finds nothing of node %d left to settle\n", n, o);
        node[n].adopts = 0 }
    :: d_step { ABLE(n) && node[n].adopts == 2 && node[o].live &&
            (ADOPTER_LOOKS_AT_ONCE || node[o].call != C_ADMITTED) ->
        node[n].adopts = 0;
        if
        :: node[o].call == C_LISTED || node[o].call == C_RINGING ->
            printf("node %d hangs up the call of node %d\n", n, o);
            hang_up(o)
        :: !(node[o].call == C_LISTED || node[o].call == C_RINGING) ->
            some = ENGINES == 1 && !node[o].alive && node[o].watched &&
                (node[o].call == C_WRITTEN || node[o].call == C_ADMITTED || !node[o].recorded);
            printf("node %d finds no call of node %d; %d: it was never placed and comes back\n", n, o, some);
            book(o, (some -> PENDING : DONE)); some = 0
        fi }
#endif
#ifdef DEATHS
    :: d_step { node[n].alive && node[o].alive && !node[o].ended ->
        printf("node %d dies\n", n);
        no_worker(n); no_dial(n);
        node[n].alive = 0; node[n].put = P_NONE; node[n].put_key = 0; node[n].adopts = 0; node[n].leaves = 0 }
    /* It is started again, or has learnt its end: a new life under a new id, once nothing of the old is left. */
    :: d_step { node[n].ended && (node[n].over || !node[n].alive) && !node[n].live && node[n].call == C_NONE &&
            node[n].dial == D_NONE && node[n].put == P_NONE && node[n].note == 0 && node[n].leaves == 0 &&
            FREE(n, 0) && FREE(n, 1) ->
        printf("node %d begins a new life\n", n);
        no_worker(n);
        node[n].alive = 1; node[n].ended = 0; node[n].over = 0; node[n].lease = TTL;
        node[n].adopts = 0; node[o].adopts = 0 }
#endif
#ifdef LEAVES
    /* Leaving in order. A request to place a call may have been given up and yet be under way. */
    :: d_step { ABLE(n) && !node[n].ended && node[n].dial == D_NONE && node[n].put == P_NONE ->
        printf("node %d leaves: it ends its row\n", n);
        no_worker(n);
        node[n].ended = 1; node[n].over = 1; node[n].adopts = 0; node[n].leaves = 1 }
    :: d_step { node[n].alive && node[n].leaves == 1 && UNUSED(ENGINE(n)) && run_is < STOPPED ->
        printf("node %d was the last there and fences the engine\n", n);
        remove(AT(i / KEYS, ENGINE(n)) && !permit[i].old);
        node[n].leaves = 2 }
    :: d_step { node[n].alive && node[n].leaves == 2 && LOCK_FREE && UNUSED(ENGINE(n)) &&
            (LEAVER_LOOKS_AT_ONCE || !HIDES(0, ENGINE(n)) && !HIDES(1, ENGINE(n))) &&
            !SHOWS(0, ENGINE(n)) && !SHOWS(1, ENGINE(n)) ->
        printf("node %d finds no call there and has the engine forgotten: no stop asks it any more\n", n);
        engine[ENGINE(n)].noted = 0; node[n].leaves = 0 }
#endif
    od
}

/*
 * An engine carries out what reaches it when it likes, also for nodes that are gone: telephony.asterisk.
 */
inline carry_out(p) {
    permit[p].endpoint = (permit[p].wire == W_FIRST -> 1 : permit[p].endpoint);
    permit[p].contact = (permit[p].wire == W_SECOND -> permit[p].life : permit[p].contact);
    permit[p].life = (permit[p].wire == W_SECOND -> 0 : permit[p].life);
    permit[p].wire = (permit[p].wire == W_FIRST -> W_SECOND : 0)
}

inline renew(p) {
    permit[p].contact = permit[p].renewal; permit[p].renewal = 0;
    permit[p].endpoint = permit[p].endpoint || RENEWAL_REVIVES
}

proctype PermitsAtEngine(byte n; byte p; byte q) {
    do
    :: d_step { permit[p].wire != 0 -> printf("the engine puts a part of permit %d\n", p); carry_out(p) }
    :: d_step { permit[q].wire != 0 -> printf("the engine puts a part of permit %d\n", q); carry_out(q) }
    :: d_step { permit[p].renewal != 0 -> printf("the engine renews permit %d\n", p); renew(p) }
    :: d_step { permit[q].renewal != 0 -> printf("the engine renews permit %d\n", q); renew(q) }
    od
}

#define ITS_CALL permit[SLOT(n, node[n].call_key)]

proctype CallAtEngine(byte n; byte o) {
    do
    :: d_step { node[n].call == C_WRITTEN && ITS_CALL.endpoint && ITS_CALL.contact > 0 ->
        printf("the engine lets the call of node %d through\n", n);
        old_permit_serves_new_epoch = node[n].call_mixed;
        assert(!old_permit_serves_new_epoch);
        node[n].call = C_ADMITTED; node[n].recorded = node[n].live }
    :: d_step { node[n].call == C_WRITTEN && (!ITS_CALL.endpoint || ITS_CALL.contact <= SKEW) ->
        printf("the engine refuses the call of node %d\n", n);
        if
        :: node[n].alive ->
            book(n, PENDING);
            node[n].use = (node[n].use == node[n].call_key + 1 -> 0 : node[n].use)
        :: else
        fi;
        no_call(n) }
    :: d_step { node[n].call == C_ADMITTED ->
        printf("the engine lists the call of node %d\n", n);
        node[n].call = C_LISTED }
    /* An INVITE with a new Call-ID leaves. What was promised is about this step. */
    :: d_step { node[n].call == C_LISTED || node[n].call == C_DYING ->
        printf("the INVITE of node %d leaves\n", n);
        call_left_after_200 = node[n].call_run == ANSWERED;
        assert(!call_left_after_200);
        if
        :: node[n].call == C_LISTED ->
            called_after_given_up = node[n].call_run == BEFORE || contact[node[n].call_to].is == DONE;
            assert(!called_after_given_up);
            called_twice = contact[node[n].call_to].called;
            assert(!called_twice);
            two_live_calls = node[o].call == C_RINGING && node[o].call_to == node[n].call_to;
            assert(!two_live_calls);
            contact[node[n].call_to].called = 1; node[n].call = C_RINGING
        :: else -> no_call(n)
        fi }
    :: d_step { node[n].call == C_DYING -> printf("the call of node %d is gone without an INVITE\n", n); no_call(n) }
    :: d_step { node[n].call == C_RINGING ->
        printf("the call of node %d ends\n", n);
        if
#ifdef RETRIES
        :: node[n].alive && node[n].live && node[n].live_now -> contact[node[n].live_to].called = 0; book(n, PENDING)
        :: node[n].alive && !(node[n].live && node[n].live_now) -> book(n, DONE)
#else
        :: node[n].alive -> book(n, DONE)
#endif
        :: else
        fi;
        no_call(n) }
#ifdef RESTARTS
    /* It has forgotten permits and calls, and what was on its way to it is lost. Whose node lives books it unknown. */
    :: d_step { node[n].call != C_NONE || permit[SLOT(n, 0)].endpoint || permit[SLOT(n, 1)].endpoint ->
        printf("the engine of node %d restarts\n", n);
        remove(AT(i / KEYS, ENGINE(n)));
        for (i : 0 .. NODES - 1) {
            node[i].watched = (AT(i, ENGINE(n)) -> 0 : node[i].watched);
            if
            :: AT(i, ENGINE(n)) && node[i].call != C_NONE ->
                if
                :: node[i].alive -> book(i, DONE)
                :: else
                fi;
                no_call(i)
            :: else
            fi
        }
        for (i : 0 .. PERMITS - 1) {
            permit[i].wire = (AT(i / KEYS, ENGINE(n)) -> 0 : permit[i].wire);
            permit[i].renewal = (AT(i / KEYS, ENGINE(n)) -> 0 : permit[i].renewal)
        }
        i = 0 }
#endif
    od
}

/*
 * The stop: services.stop, services.barrier.
 */
proctype StopAt(byte e) {
    do
#ifdef GONE
    :: d_step { stop_works && engine[e].at == S_ASK && expires == 0 && !HIDES(0, e) && !HIDES(1, e) &&
            !(AT(0, e) && node[0].call == C_LISTED) && !(AT(1, e) && node[1].call == C_LISTED) ->
        printf("every permit at engine %d has expired\n", e);
        engine[e].at = S_SILENT }
#else
    :: d_step { stop_works && engine[e].at == S_ASK ->
        engine[e].making = !NO_NOTE_WAIT && BEING_PUT(e);
        printf("the stop asks whether a permit is being put at engine %d: %d\n", e, engine[e].making);
        engine[e].at = (NO_FENCE -> S_LOOK : S_FENCE) }
    :: d_step { stop_works && engine[e].at == S_FENCE ->
        printf("the stop removes the contacts at engine %d\n", e);
        for (i : 0 .. PERMITS - 1) {
            permit[i].contact = (AT(i / KEYS, e) && !permit[i].old -> 0 : permit[i].contact)
        }
        i = 0; engine[e].at = S_FENCE2 }
    :: d_step { stop_works && engine[e].at == S_FENCE2 ->
        printf("the stop removes the endpoints at engine %d\n", e);
        for (i : 0 .. PERMITS - 1) {
            permit[i].endpoint = (AT(i / KEYS, e) && !permit[i].old -> 0 : permit[i].endpoint)
        }
        i = 0; engine[e].at = (NO_QUIESCE -> S_QUIET : S_LOOK) }
    :: d_step { stop_works && engine[e].at == S_LOOK ->
        look(e);
        printf("the stop looks at engine %d and hangs up; %d: something was there\n", e, some);
        engine[e].at = (some -> S_LOOK : (ONE_LOOK -> S_QUIET : S_AGAIN)); some = 0 }
    /* 20 ms later: what had been let through shows by now; what was hung up has sent what it will ever send. */
    :: d_step { stop_works && engine[e].at == S_AGAIN && !HIDES(0, e) && !HIDES(1, e) ->
        look(e);
        printf("the stop looks at engine %d again and hangs up; %d: something was there\n", e, some);
        engine[e].at = (some -> S_LOOK : S_QUIET); some = 0 }
    :: d_step { stop_works && engine[e].at == S_QUIET && !engine[e].making ->
        printf("engine %d is silent\n", e);
        engine[e].at = S_SILENT }
    :: d_step { stop_works && engine[e].at == S_QUIET && engine[e].making && !BEING_PUT(e) ->
        printf("no permit is being put at engine %d any more: all of it once more\n", e);
        engine[e].making = 0; engine[e].at = S_ASK }
#ifdef CUTS
    :: d_step { stop_works && engine[e].at != S_ASK && engine[e].at != S_SILENT ->
        printf("the stop does not reach engine %d and begins there anew\n", e);
        engine[e].making = 0; engine[e].at = S_ASK }
#endif
#endif
    od
}

inline stop_anew() {
    stop_works = 0; expires = 0;
    for (i : 0 .. ENGINES - 1) { engine[i].at = S_ASK; engine[i].making = 0 }
    i = 0
}

proctype Stop() {
    do
    :: d_step { (run_is == ACTIVE || run_is == PAUSED) && LOCK_FREE ->
        printf("the stop is committed\n");
        move(STOPPING); raise_epoch() }
    :: d_step { run_is == STOPPING && !stop_works ->
        printf("the stop reads which engines may hold a permit\n");
        for (i : 0 .. ENGINES - 1) { engine[i].at = (engine[i].noted -> S_ASK : S_SILENT) }
        i = 0;
#ifdef GONE
        expires = LIFE;
#endif
        stop_works = 1 }
    :: d_step { stop_works && engine[0].at == S_SILENT && engine[ENGINES - 1].at == S_SILENT && LOCK_FREE ->
        printf("the stop is answered 200\n");
        move(STOPPED); stop_anew(); run_over(ANSWERED) }
#ifdef CUTS
    :: d_step { stop_works -> printf("the process that stops dies; another finishes what it began\n"); stop_anew() }
#endif
    od
}

/*
 * People, schedules and completion: services.runs, dialer.chores.
 */
proctype People() {
    do
    :: d_step { run_is == ACTIVE && contact[0].is == DONE && contact[CONTACTS - 1].is == DONE && LOCK_FREE ->
        printf("the run is complete\n");
        move(COMPLETED) }
#ifdef PAUSES
    :: d_step { run_is == ACTIVE && LOCK_FREE -> printf("the run is paused\n"); move(PAUSED); raise_epoch() }
    :: d_step { (run_is == PAUSED || STOPPING_CAN_RESUME && run_is == STOPPING) && LOCK_FREE ->
        printf("the run is resumed\n");
        move(ACTIVE); raise_epoch() }
#endif
#ifdef STARTS
    :: d_step { run_is == STOPPED || run_is == COMPLETED ->
        printf("another run is started\n");
        run_is = ACTIVE; raise_epoch(); run_over(BEFORE);
        for (i : 0 .. CONTACTS - 1) { contact[i].is = PENDING; contact[i].called = 0 }
        for (i : 0 .. PERMITS - 1) { permit[i].old = 1 }
        for (i : 0 .. ENGINES - 1) { engine[i].noted = 0 }
        for (i : 0 .. NODES - 1) { node[i].live_now = 0; node[i].note = 0 }
        i = 0 }
#endif
    od
}

#define LESS(x) x = (x > 0 -> x - 1 : 0)

proctype Server() {
    do
    /* PostgreSQL ends a transaction whose client is silent: store.runs.limit_idle. */
    :: d_step { node[0].put == P_LOCKED -> printf("the server ends the transaction of node 0\n"); unlock(0) }
    :: d_step { node[1].put == P_LOCKED -> printf("the server ends the transaction of node 1\n"); unlock(1) }
    od
}

proctype Clock() {
    do
    :: d_step { true ->
        printf("time passes\n");
        for (i : 0 .. NODES - 1) {
            LESS(node[i].lease); LESS(node[i].gate); LESS(node[i].seen);
            node[i].note = (!NO_NOTES && !NOTES_LAST && node[i].note > 0 -> node[i].note - 1 : node[i].note)
        }
        for (i : 0 .. PERMITS - 1) {
            permit[i].contact = (!NO_EXPIRY && permit[i].contact > 0 -> permit[i].contact - 1 : permit[i].contact);
            LESS(permit[i].life); LESS(permit[i].renewal)
        }
        LESS(expires); i = 0 }
    od
}

init {
    atomic {
        node[0].alive = 1;
        run Dialer(0, 1); run PermitsAtEngine(0, SLOT(0, 0), SLOT(0, 1)); run CallAtEngine(0, 1);
#ifdef ALONE
        node[1].ended = 1;
#else
        node[1].alive = 1;
        run Dialer(1, 0); run PermitsAtEngine(1, SLOT(1, 0), SLOT(1, 1)); run CallAtEngine(1, 0);
#endif
        run StopAt(0);
#if ENGINES == 2
        run StopAt(1);
#endif
        run Stop(); run People(); run Server(); run Clock()
    }
}

#ifdef LIVE                       /* as long as every process takes its steps, a stop is answered */
ltl answered { [] (run_is == STOPPING -> <> (run_is == STOPPED)) }
#endif
