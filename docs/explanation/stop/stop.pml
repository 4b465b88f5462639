/*
 * The stop protocol of outdial in Promela, for the model checker Spin. What is left out and why that is sound, bounds,
 * and what was found: model.md beside this file. `make model` checks it all.
 *
 * How to read it. Whatever has a state is one of five things: the run (a row), its contacts, a node (its row, its lease,
 * what its process is about to do, its one call), a permit (at the engine or on its way there), the stop. Each `::` of a
 * process is one step that nothing comes between: one statement of the database, one request that an engine carries
 * out, one thing that a process does between two waits. Steps happen in any order, so a frozen process, a slow network
 * or a stalled engine needs no rule: its next step is just not taken yet.
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
#ifndef ENGINES
#define ENGINES 1                 /* 1: both nodes use it; 2: one each */
#endif
#ifndef CONTACTS
#define CONTACTS 1
#endif
#ifndef TTL
#define TTL 1                     /* life of leases, gates and permits, in ticks */
#endif
#ifndef SKEW
#define SKEW 0                    /* how much longer a permit may live by its engine's clock */
#endif
#define LIFE (TTL + SKEW)         /* after so long a permit is gone for certain: core.permit.silent_after */
#define NODES 2
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
#if !NO_NOTES
#define NO_NOTES 0                /* the run's lock is held while a permit is put, in place of a note */
#endif
#ifndef NO_RUN_LOCK
#define NO_RUN_LOCK 0             /* the run is found active in one statement and the note written in another */
#endif
#ifndef LATE_PUTS_SERVE
#define LATE_PUTS_SERVE 0         /* a permit that was put later than its note holds is used */
#endif
#if !NO_KEYS
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
            node[n].call == C_NONE && !node[n].live && !node[n].ended && (CLAIM_BELIEVES_LOOK || run_is == ACTIVE && node[n].present) &&
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
    /* The session is lost, or the engine too slow to be waited for. What was sent arrives; the note runs out by itself. */
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
    :: d_step { ABLE(n) && node[n].adopts == 2 && node[o].live && (ADOPTER_LOOKS_AT_ONCE || node[o].call != C_ADMITTED) ->
        node[n].adopts = 0;
        if
        :: node[o].call == C_LISTED || node[o].call == C_RINGING ->
            printf("node %d hangs up the call of node %d\n", n, o);
            hang_up(o)
        :: !(node[o].call == C_LISTED || node[o].call == C_RINGING) ->
            some = ENGINES == 1 && !node[o].alive && node[o].watched &&
                (node[o].call == C_WRITTEN || node[o].call == C_ADMITTED || !node[o].recorded);
            printf("node %d finds no call of node %d; %d: it was never placed, so the contact comes back\n", n, o, some);
            book(o, (some -> PENDING : DONE)); some = 0
        fi }
#endif
#ifdef DEATHS
    :: d_step { node[n].alive && node[o].alive && !node[o].ended ->
        printf("node %d dies\n", n);
        no_worker(n); no_dial(n);
        node[n].alive = 0; node[n].put = P_NONE; node[n].put_key = 0; node[n].adopts = 0; node[n].leaves = 0 }
    /* Its process is started again, or has learnt its end: a new life under a new id, once nothing of the old is left. */
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
    :: d_step { node[n].call == C_ADMITTED -> printf("the engine lists the call of node %d\n", n); node[n].call = C_LISTED }
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
    :: d_step { (run_is == PAUSED || STOPPING_CAN_RESUME && run_is == STOPPING) && LOCK_FREE -> printf("the run is resumed\n"); move(ACTIVE); raise_epoch() }
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
            node[i].note = (!NO_NOTES && node[i].note > 0 -> node[i].note - 1 : node[i].note)
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
