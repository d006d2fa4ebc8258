/*
 * The protocol of redisguard (protocol.lua and claim.lua): one ticket, two stores of which
 * one follows the other, asynchronously, and claims by nodes that know nothing of each
 * other. Claim: the ticket is accepted at most once, whatever the stores lose, as long as
 * only one of them at a time is a primary.
 *
 *     spin -a store.pml && cc -O2 -w -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -E -m100000
 *
 * Times are whole seconds. What is assumed: the clocks of the two stores differ by SKEW
 * at the most, and go on. What is not:
 *
 *   - Nothing about the nodes' clocks. A claim says any time at which a verifier takes the
 *     ticket for valid, another one each time it is made.
 *   - Nothing about the network and the nodes. A claim may be carried out at any time, by
 *     any primary, any number of times, also when its node has given up long ago; and
 *     each answer may get lost. That is more than can happen, and takes in every delay,
 *     timeout and retry.
 *
 * Take something out of it (-D, a name below) and spin finds a ticket that is accepted
 * twice:
 *
 *     NO_EPOCH      no ticket is refused for having been issued before the epoch
 *     NO_HISTORY    the epoch does not say whose it is
 *     NO_NEAR       the script does not hold the node's clock against its own
 *     NO_CLOCK      a clock that was ahead is not noticed
 *     SINCE_SHORT   the epoch counts for one second less than leeway + 2 SKEW
 *     PX_SHORT      keys live for one second less than it takes
 *     SPLIT         the checks are made before the claim and not with it
 *     ONE_VALUE     all claims have one value
 *     ON_REPLICA    a replica takes claims, as one may that can be written to
 *     PARTITION     an old primary may be alive beside a new one: the limit
 *
 * With PARTITION_WAIT, where a claim counts once the replica has it, it finds none; with
 * PARTITION_WAIT_NO_REWRITE, where a claim that is made again is not written again, it
 * does. ACCEPTS and ACCEPTS_AFTER_LOSS are no faults: with them it finds that a ticket is
 * accepted at all, and also after something was lost.
 *
 * Four rules of the script are not in it: evictions, which lose keys and are noticed as a
 * clock that was ahead is; nodes with another leeway or MaxSkew; what a node knows of another
 * store, which bounds what a partition does; and that a claim by a node whose clock is off
 * begins no epoch. mutants_test.go of redisguard has them.
 */

#ifdef PARTITION_WAIT_NO_REWRITE
#define PARTITION_WAIT
#define NO_REWRITE
#endif
#ifdef PARTITION_WAIT
#define PARTITION
#define WAIT
#endif

#ifndef LEEWAY
#define LEEWAY 1
#endif
#ifndef SKEW
#define SKEW 1
#endif
#ifndef TTL
#define TTL 1
#endif
#ifndef FAULTS
#define FAULTS 2
#endif

#ifdef SINCE_SHORT
#define EARLY (LEEWAY + 2 * SKEW - 1)
#else
#define EARLY (LEEWAY + 2 * SKEW)
#endif
/* It begins, with an epoch that began at 0 and that no ticket is too early for. */
#define START (2 * LEEWAY + 2 * SKEW + 1)
/* A ticket may be issued so late that an epoch that begins then does not refuse it. */
#define LATEST (START + SKEW + LEEWAY + 2 * SKEW + 1)
/* protocol.lua keeps keys a second longer than this, for the fractions. */
#ifdef PX_SHORT
#define KEEP (LEEWAY + SKEW - 1)
#else
#define KEEP (LEEWAY + SKEW)
#endif
#ifdef ONE_VALUE
#define VALUE(c) 1
#else
#define VALUE(c) (1 + c)
#endif
#define CLAIMS 2         /* enough to accept twice */

mtype = { DOWN, PRIMARY, REPLICA };

typedef Data {           /* what a store holds, in memory and on disk */
	byte key;            /* 0, or the value of the claim that is there */
	byte history;        /* the epoch: of which process; 0: there is none */
	byte since;          /* and since when */
	bit ahead            /* a look saw a time that the clock has not reached yet */
};
typedef Store {
	mtype role;
	byte history;        /* the replication id of the process, new with each start and promotion */
	byte off;            /* of its clock from the true time */
	Data mem
};
Store store[2];
Data disk;               /* of the first: enough for a file that lacks the end */

typedef Claim {
	bit done;            /* its node has accepted */
	byte acking          /* 1 + the store whose replica is waited for */
#ifdef SPLIT
	; bit checked
#endif
};
Claim claim[CLAIMS];

byte now;                /* the true time */
byte issued;
byte histories;          /* that there have been */
byte faults;
bit moved;               /* an epoch has begun */
byte accepted;

#define CLOCK(s) (now + store[s].off)
#define EXP (issued + TTL)

/* Is there a clock within SKEW of the store's at which a verifier takes the ticket? */
#ifdef NO_NEAR
#define NEAR(s) true
#else
#define NEAR(s) (issued <= CLOCK(s) + SKEW + LEEWAY && CLOCK(s) < EXP + LEEWAY + SKEW)
#endif

inline copy(to, from) { to.key = from.key; to.history = from.history; to.since = from.since; to.ahead = from.ahead }
inline wipe(d) { d.key = 0; d.history = 0; d.since = 0; d.ahead = 0 }

inline accept(c) {
	claim[c].done = 1; claim[c].acking = 0;
	accepted++;
#ifdef ACCEPTS
	assert(false);
#endif
#ifdef ACCEPTS_AFTER_LOSS
	assert(!moved);
#endif
	assert(accepted <= 1)
}

/* Is there an epoch, and is it about what this process holds? */
#ifdef NO_HISTORY
#define OWN(s) true
#else
#define OWN(s) (store[s].mem.history == store[s].history)
#endif
#ifdef NO_CLOCK
#define BACK(s) false
#else
#define BACK(s) store[s].mem.ahead
#endif
#define SOUND(s) (store[s].mem.history != 0 && OWN(s) && !BACK(s))
#ifdef NO_EPOCH
#define LATE_ENOUGH(s) true
#else
#define LATE_ENOUGH(s) (issued > store[s].mem.since + EARLY)
#endif

/* A sound epoch there is; else it begins now. */
inline check(s) {
	if
	:: !SOUND(s) -> store[s].mem.history = store[s].history; store[s].mem.since = CLOCK(s); store[s].mem.ahead = 0; moved = 1
	:: else -> skip
	fi
}

/* SET key value NX GET PXAT, and the answer: it is ours, now or from before. */
inline set(c, s) {
	if
	:: store[s].mem.key != 0 && CLOCK(s) >= EXP + KEEP -> store[s].mem.key = 0
	:: else -> skip
	fi;
	if
	:: store[s].mem.key == 0 -> store[s].mem.key = VALUE(c); answer(c, s, false)
	:: store[s].mem.key == VALUE(c) -> answer(c, s, true)
	:: else -> skip
	fi
}

inline answer(c, s, again) {
	if
	:: claim[c].done -> skip
#ifndef WAIT
	:: !claim[c].done -> accept(c)
#else
#ifdef NO_REWRITE
	:: !claim[c].done && again -> accept(c) /* nothing new to wait for */
#endif
	:: !claim[c].done -> claim[c].acking = 1 + s
#endif
	:: skip /* it gets lost */
	fi
}

/* Claim c is carried out at store s. */
inline carryOut(c, s) {
#ifdef SPLIT
	if
	:: claim[c].checked -> set(c, s)
	:: !claim[c].checked -> check(s); claim[c].checked = LATE_ENOUGH(s)
	fi
#else
	check(s);
	if
	:: LATE_ENOUGH(s) -> set(c, s)
	:: else -> skip
	fi
#endif
}

/* Nobody waits for the replica of a process any more that is gone, or is no primary. */
inline drop(s) {
	if
	:: claim[0].acking == 1 + s -> claim[0].acking = 0
	:: else -> skip
	fi;
	if
	:: claim[1].acking == 1 + s -> claim[1].acking = 0
	:: else -> skip
	fi
}

#define FOLLOWED(s) (store[s].role == PRIMARY && store[1-s].role == REPLICA && store[1-s].history == store[s].history)
#ifdef PARTITION
#define MAY(s) true      /* be a primary, whatever the other one is */
#else
#define MAY(s) (store[1-s].role != PRIMARY)
#endif

/* becomes a primary, with a replication id of its own */
inline lead(p) { store[p].role = PRIMARY; histories++; store[p].history = histories }
/* becomes a replica of the other one, and is filled by it */
inline follow(p) { store[p].role = REPLICA; store[p].history = store[1-p].history; copy(store[p].mem, store[1-p].mem) }

#define FAULT faults < FAULTS
#define HAS(c) (FOLLOWED(s) && claim[c].acking == 1 + s && store[1-s].mem.key == VALUE(c))

#ifdef ON_REPLICA
#define TAKES(s) (store[s].role != DOWN)
#else
#define TAKES(s) (store[s].role == PRIMARY)
#endif

proctype Server(byte s) {
	do
	:: atomic { TAKES(s) && NEAR(s) -> carryOut(0, s) }
	:: atomic { TAKES(s) && NEAR(s) -> carryOut(1, s) }
#ifdef WAIT
	/* The replica has the claim. */
	:: atomic { HAS(0) -> accept(0) }
	:: atomic { HAS(1) -> accept(1) }
#endif
	/* A look, or the claim of another ticket. */
	:: d_step { store[s].role == PRIMARY && !SOUND(s) -> check(s) }
	/* Replication; and the disk of the first store. */
	:: d_step { FOLLOWED(s) -> copy(store[1-s].mem, store[s].mem) }
	:: d_step { s == 0 && store[s].role == PRIMARY -> copy(disk, store[s].mem) }

	/* The process dies; and is back as a primary, with what its disk has or empty, or as
	   a replica. */
	:: d_step { FAULT && store[s].role != DOWN -> faults++; drop(s); store[s].role = DOWN; store[s].history = 0; wipe(store[s].mem) }
	:: d_step { store[s].role == DOWN && MAY(s) -> lead(s) }
	:: d_step { store[s].role == DOWN && MAY(s) && s == 0 -> lead(s); copy(store[s].mem, disk) }
	:: d_step { store[s].role == DOWN && store[1-s].role == PRIMARY -> follow(s) }
	/* The replica takes over. */
	:: d_step { FAULT && store[s].role == REPLICA && MAY(s) -> faults++; lead(s) }
	/* A primary hands over to its replica. */
	:: d_step { FAULT && FOLLOWED(s) -> faults++; drop(s); lead(1-s); follow(s) }
	/* One of two primaries follows the other: a partition is over. */
	:: d_step { store[s].role == PRIMARY && store[1-s].role == PRIMARY -> drop(s); follow(s) }
	/* FLUSHALL. */
	:: d_step { FAULT && store[s].role == PRIMARY -> faults++; drop(s); wipe(store[s].mem) }
	/* Its clock is ahead for a while, which a look sees: keys expire early. */
	:: d_step { FAULT && store[s].role == PRIMARY && SOUND(s) -> faults++; drop(s); store[s].mem.key = 0; store[s].mem.ahead = 1 }
	od
}

init {
	byte x;
	atomic {
		/* Any two clocks within SKEW of each other, and a ticket of any age. */
		select(x : 0 .. SKEW); store[0].off = x;
		select(x : 0 .. SKEW); store[1].off = x;
		select(x : START - LEEWAY .. LATEST); issued = x;
		x = 0;
		now = START;
		histories = 1;
		store[0].role = PRIMARY; store[0].history = 1; store[0].mem.history = 1;
		store[1].role = REPLICA; store[1].history = 1;
		run Server(0); run Server(1)
	}
	do
	:: now < EXP + LEEWAY + SKEW -> now++ /* no verifier takes it after that */
	od
}
