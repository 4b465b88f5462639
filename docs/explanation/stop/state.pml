/*
 * What the model of the stop is made of: bounds, guards, and everything that has a state. The steps: stop.pml.
 */
#ifndef ENGINES
#define ENGINES 1                 /* 1: both nodes use it; 2: one each */
#endif
#ifndef TTL
#define TTL 1                     /* life of leases, gates and permits, in ticks */
#endif
#ifndef SKEW
#define SKEW 0                    /* how much longer a permit may live by its engine's clock */
#endif
#define LIFE (TTL + SKEW)         /* after so long a permit is gone for certain: core.permit.silent_after */
#define NODES 2
#define CONTACTS 1                /* people do not meet in the protocol */
#define KEYS 2                    /* permits of one node that may be about at once */
#define PERMITS (NODES * KEYS)
#define AT(n, e) (ENGINES == 1 || (n) == (e))
#define ENGINE(n) (ENGINES == 1 -> 0 : n)

/*
 * The guards. Each flag takes one away, and some assertion must fail then.
 */
#ifndef NO_FENCE
#define NO_FENCE 0                /* the stop does not remove permits */
#endif
#ifndef NO_QUIESCE
#define NO_QUIESCE 0              /* nor does it look for calls that were let through before */
#endif
#ifndef ONE_LOOK
#define ONE_LOOK 0                /* one empty listing is enough */
#endif
#ifndef NO_NOTE_WAIT
#define NO_NOTE_WAIT 0            /* the stop does not wait for a permit that is being put */
#endif
#ifndef NO_NOTES
#define NO_NOTES 0                /* the run's lock is held while a permit is put, in place of a note */
#endif
#ifndef NO_RUN_LOCK
#define NO_RUN_LOCK 0             /* the run is found active in one statement and the note written in another */
#endif
#ifndef LATE_PUTS_SERVE
#define LATE_PUTS_SERVE 0         /* a permit that was put later than its note holds is used */
#endif
#ifndef NOTES_LAST
#define NOTES_LAST 0              /* a note does not run out by itself: no false answer, but perhaps none at all */
#endif
#ifndef NO_KEYS
#define NO_KEYS 0                 /* permits are named after run and epoch alone, so nodes share them */
#endif
#ifndef NO_EPOCHS
#define NO_EPOCHS 0               /* a node goes on with its permit when the epoch has risen */
#endif
#ifndef NO_EXPIRY
#define NO_EXPIRY 0               /* permits have no end */
#endif
#ifndef RENEWAL_REVIVES
#define RENEWAL_REVIVES 0         /* a renewal puts the whole permit */
#endif
#ifndef CLAIM_BELIEVES_LOOK
#define CLAIM_BELIEVES_LOOK 0     /* a claim does not look at the run under the run's lock */
#endif
#ifndef DOUBLE_CLAIM
#define DOUBLE_CLAIM 0            /* nor at the contact under its row's lock and the unique indexes */
#endif
#ifndef NO_ADOPTER_REMOVAL
#define NO_ADOPTER_REMOVAL 0      /* an adopter leaves the dead node's permits as they are */
#endif
#ifndef ADOPTER_LOOKS_AT_ONCE
#define ADOPTER_LOOKS_AT_ONCE 0   /* it does not wait, as a stop does, until what was let through before shows */
#endif
#ifndef LEAVER_LOOKS_AT_ONCE
#define LEAVER_LOOKS_AT_ONCE 0    /* nor does the last node of an engine, before it has it forgotten */
#endif
#ifndef STOPPING_CAN_RESUME
#define STOPPING_CAN_RESUME 0     /* a run that is stopping can be resumed */
#endif
#if NO_NOTES
#define HOLDS_LOCK(n) (node[n].put == P_LOCKED || node[n].note > 0)
#else
#define HOLDS_LOCK(n) (!NO_RUN_LOCK && node[n].put == P_LOCKED)
#endif
#if NO_KEYS
#define SLOT(n, key) 0
#define OWN(n, p) ((p) == 0)
#else
#define SLOT(n, key) ((n) * KEYS + (key))
#define OWN(n, p) ((p) / KEYS == (n))
#endif

/*
 * The run: a row. Its moves are core.campaign.RUN_MOVES.
 */
#define ACTIVE    0
#define PAUSED    1
#define STOPPING  2
#define STOPPED   3
#define COMPLETED 4
unsigned run_is : 3 = ACTIVE;

#define PENDING 0
#define TAKEN   1                 /* it has a live attempt */
#define DONE    2
typedef Contact {
    unsigned is : 2;
    bit called                    /* an INVITE has left for it */
};
Contact contact[CONTACTS];

/*
 * Nodes.
 */
#define P_NONE    0
#define P_LOCKED  1               /* in the transaction that notes: lock held, run found active, row not ended */
#define P_SENT    2               /* noted, and asked for; a request sent late and one that arrives late are the same */
#define D_NONE    0
#define D_CLAIMED 1               /* reserved, and the worker knows */
#define D_CHECKED 2               /* the gate was open; writing the request is what it does next */
#define D_LOST    3               /* reserved, and the answer was lost */
#define C_NONE     0
#define C_WRITTEN  1              /* in the engine's socket, or on its way there */
#define C_ADMITTED 2              /* past the permit; in no listing yet */
#define C_LISTED   3              /* in listings; its INVITE has not left */
#define C_RINGING  4              /* its INVITE has left */
#define C_DYING    5              /* hung up before; in no listing any more, and its INVITE may leave still */
#define PRESENT  0                /* of the run there is */
#define BEFORE   1                /* of one that is over */
#define ANSWERED 2                /* of one whose stop was answered 200 */
typedef Node {
    bit alive;                    /* the process exists */
    bit ended;                    /* its row says that its life is over */
    bit over;                     /* the process knows */
    unsigned lease : 2;
    bit looks;                    /* it has asked the database, and not applied the answer yet */
    unsigned seen : 2;            /* what is left of TTL since the instant before it asked */
    bit saw_active;
    bit saw_own;                  /* at the epoch its worker serves */
    bit saw_present;              /* which still is the run's epoch */
    bit works;                    /* it has a worker */
    bit present;                  /* whose epoch is the run's */
    unsigned gate : 2;            /* open while > 0 */
    unsigned put : 2;             /* P_: the permit it is putting */
    unsigned put_key : 1;
    unsigned note : 3;            /* what is left of its note in the database that it puts one */
    unsigned use : 2;             /* 0, or 1 + the key it dials under and renews */
    unsigned dial : 2;            /* D_: the contact it is about to call */
    unsigned dial_key : 1;
    unsigned dial_to : 1;
    unsigned dial_run : 2;        /* PRESENT, BEFORE, ANSWERED */
    bit dial_mixed;               /* claimed at one epoch under the permit of another */
    unsigned call : 3;            /* C_: its call */
    unsigned call_key : 1;
    unsigned call_to : 1;
    unsigned call_run : 2;
    bit call_mixed;
    bit live;                     /* the row of its attempt has not ended */
    unsigned live_to : 1;
    bit live_now;                 /* that attempt is of the run there is */
    bit recorded;                 /* the engine has seen its call */
    bit watched;                  /* and would know, had it seen it: it has not restarted since it was reserved */
    unsigned adopts : 2;          /* 1: it has taken the other over; 2: and removed its permits */
    unsigned leaves : 2           /* 1: it has ended its own row; 2: and fenced its engine */
};
Node node[NODES];

/*
 * Permits, and the requests that put and renew them.
 */
#define W_FIRST  1                /* its endpoint is on its way, and its contact after it */
#define W_SECOND 2                /* its contact is on its way */
typedef Permit {
    bit endpoint;                 /* is at the engine */
    unsigned contact : 3;         /* what is left of the one at the engine */
    unsigned wire : 2;            /* W_ */
    unsigned life : 3;            /* what is left of its contact while that is being put */
    unsigned renewal : 3;         /* what is left of the contact in a renewal on its way */
    bit old;                      /* of a run that is over */
    bit stale                     /* of an epoch that is over */
};
Permit permit[PERMITS];
#if NO_KEYS
#define FREE(n, key) (permit[0].wire == 0)
#else
#define FREE(n, key) (permit[SLOT(n, key)].wire == 0 && permit[SLOT(n, key)].renewal == 0 && \
    permit[SLOT(n, key)].contact == 0 && !(node[n].dial != D_NONE && node[n].dial_key == key) && \
    !(node[n].call != C_NONE && node[n].call_key == key))
#endif

/*
 * The stop: one column per engine.
 */
#define S_ASK    0                /* about to look whether a permit is being put */
#define S_FENCE  1                /* about to remove contacts, */
#define S_FENCE2 2                /* then endpoints */
#define S_LOOK   3
#define S_AGAIN  4                /* one listing was empty */
#define S_QUIET  5
#define S_SILENT 6
typedef Column {
    unsigned at : 3;
    bit noted;                    /* a permit of the run may be there: run_engines */
    bit making                    /* when asked, one was being put */
};
Column engine[ENGINES];
bit stop_works;
unsigned expires : 3;             /* what is left until every permit of the run has expired: Target.expired_at */

#define GATE_OPEN(n) (node[n].gate > 0 && !node[n].over)
#define TO_BE_CALLED(c, o) (DOUBLE_CLAIM && contact[c].is == TAKEN || \
    contact[c].is == PENDING && !(node[o].live && node[o].live_to == c))
#define LOCK_FREE (!HOLDS_LOCK(0) && !HOLDS_LOCK(1))
#define BEING_PUT(e) ((AT(0, e) && node[0].note > 0) || (AT(1, e) && node[1].note > 0))
#define HIDES(n, e) (AT(n, e) && node[n].call_run == PRESENT && (node[n].call == C_ADMITTED || node[n].call == C_DYING))
#define SHOWS(n, e) (AT(n, e) && node[n].call_run == PRESENT && (node[n].call == C_LISTED || node[n].call == C_RINGING))
#define UNUSED(e) ((!AT(0, e) || node[0].ended) && (!AT(1, e) || node[1].ended))

/* What is never to be: set just before it is asserted. `i` and `some` are for use within a step. */
byte call_left_after_200, called_after_given_up, called_twice, two_live_calls, reserved_for_a_run_not_active,
            old_permit_serves_new_epoch, stopping_was_moved, i, some;

inline move(to) {
    stopping_was_moved = !STOPPING_CAN_RESUME && run_is >= STOPPING && !(run_is == STOPPING && to == STOPPED);
    assert(!stopping_was_moved);
    run_is = to
}

/* All there is is of an older epoch from here on. */
inline raise_epoch() {
    for (i : 0 .. NODES - 1) { node[i].saw_present = 0; node[i].present = 0 }
    for (i : 0 .. PERMITS - 1) { permit[i].stale = 1 }
    i = 0
}

/* All there is is of a run that is over from here on; 200 was answered, or not. */
inline run_over(answered) {
    for (i : 0 .. NODES - 1) {
        node[i].dial_run = (node[i].dial != D_NONE && node[i].dial_run == PRESENT -> answered : node[i].dial_run);
        node[i].call_run = (node[i].call != C_NONE && node[i].call_run == PRESENT -> answered : node[i].call_run)
    }
    i = 0
}

inline remove(mine) {
    for (i : 0 .. PERMITS - 1) {
        permit[i].contact = (mine -> 0 : permit[i].contact);
        permit[i].endpoint = (mine -> 0 : permit[i].endpoint)
    }
    i = 0
}

/* An attempt ends once; whoever ends it says what becomes of its contact. */
inline book(x, becomes) {
    if
    :: node[x].live && node[x].live_now -> contact[node[x].live_to].is = becomes
    :: else
    fi;
    node[x].live = 0; node[x].live_to = 0; node[x].live_now = 0; node[x].recorded = 0; node[x].watched = 0
}

inline unlock(x) { node[x].put = P_NONE; node[x].put_key = 0 }

inline no_look(x) {
    node[x].looks = 0; node[x].seen = 0; node[x].saw_active = 0; node[x].saw_own = 0; node[x].saw_present = 0
}

inline no_dial(x) {
    node[x].dial = D_NONE; node[x].dial_key = 0; node[x].dial_to = 0; node[x].dial_run = 0; node[x].dial_mixed = 0
}

inline no_call(x) {
    node[x].call = C_NONE; node[x].call_key = 0; node[x].call_to = 0; node[x].call_run = 0; node[x].call_mixed = 0
}

inline no_worker(x) {
    no_look(x); node[x].works = 0; node[x].present = 0; node[x].gate = 0; node[x].use = 0
}

inline hang_up(x) {
    book(x, DONE);
    if
    :: node[x].call == C_LISTED -> node[x].call = C_DYING
    :: else -> no_call(x)
    fi
}

/* One listing at an engine, and the hanging up it asks for; `some`: anything was open. */
inline look(e) {
    some = 0;
    for (i : 0 .. NODES - 1) {
        if
#ifdef LETRING                    /* what has not left yet is waited for */
        :: SHOWS(i, e) && node[i].call == C_LISTED -> some = 1
#else
        :: SHOWS(i, e) -> some = 1; hang_up(i)
#endif
        :: else
        fi
    }
    i = 0
}
