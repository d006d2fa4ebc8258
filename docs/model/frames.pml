/*
 * The frames of a ReplayCache (replay_frames.go): USES uses of one ticket, in one part of
 * one of FRAMES frames, beside slots of other tickets that need the frames too. Claim: the
 * ticket is accepted at most once, in this process and the one that goes on from its file.
 *
 *     spin -a frames.pml && cc -O2 -w -DSAFETY -o pan pan.c && ./pan -E -m1000000
 *
 * There is no clock: any slot may be given up at any time, because it is over or because
 * another one needs its frame, and a use may stall anywhere for as long as it likes. That is
 * more than a cache does. A use knows its frame from a hint, which is any frame that ever
 * served the slot, or it opens the slot. Where the code holds a lock, the model is atomic;
 * the lock of a part and the lock of the set are two.
 *
 * Slot 1 is the ticket's, the others belong to other tickets. Each frame has one part with
 * room for one mark, as all that matters of a ticket is in one part.
 *
 * Take something out of it (-D, a name below) and spin finds a ticket that is accepted
 * twice:
 *
 *     NO_RECHECK    a part is wiped without another look at which slot the frame serves
 *     NO_CLOSED     a slot that lost its frame may get another
 *     LATE_CLOSED   a slot is closed after its frame went, and not under the same lock
 *     NO_LOOK       opening does not look whether the slot has a frame
 *     TWO_STEPS     looking for the mark and leaving it are two steps
 *     NO_NOTE       a part does not note which slot it serves
 *     SEAL_FRAMES   sealing takes the frames' slots away and leaves the parts alone: then the
 *                   file that was saved lacks a ticket, and it is accepted after the restart
 *
 * ACCEPTS and ACCEPTS_LATER are no faults: with them it finds that the ticket is accepted at
 * all, and by a use that met a part of another slot.
 */

#ifndef USES
#define USES 2
#endif
#ifndef FRAMES
#define FRAMES 2
#endif
#ifndef SLOTS
#define SLOTS 3 /* 1 to SLOTS; 0 is none */
#endif

byte serves[FRAMES];      /* the slot that each frame serves; written under the lock of the set */
byte part[FRAMES];        /* the slot that its part serves; written under the part's lock */
bool mark[FRAMES];        /* the ticket's mark is in the part */
bool closed[SLOTS + 1];
byte accepts;
bool sealed, saved;
bool infile;              /* the ticket is refused by the process that follows */
bool later;               /* a use wiped a part and was accepted */

/* f becomes a frame that serves slot s, or FRAMES. */
inline frameof(s, f) {
	f = 0;
	do
	:: f < FRAMES && serves[f] != s -> f++
	:: else -> break
	od
}

/* Give frame f up: its slot is closed. */
inline giveup(f) {
	if
	:: serves[f] != 0 ->
#ifndef NO_CLOSED
#ifndef LATE_CLOSED
		closed[serves[f]] = true;
#endif
#endif
		serves[f] = 0
	:: else
	fi
}

/* Other tickets, some of them of slot 1 too: their slots open, are used, and are over at any
 * time. */
proctype others() {
	byte f, g, s, gone;
	do
	:: atomic { !sealed -> gone = 0; select(f: 0 .. FRAMES - 1); gone = serves[f]; giveup(f) }
#ifdef LATE_CLOSED
	   atomic { if :: gone != 0 -> closed[gone] = true :: else fi }
#endif
	:: atomic { /* a slot opens, in a frame that is free or is taken from its slot */
		!sealed -> select(s: 1 .. SLOTS);
		frameof(s, g);
		if
		:: g == FRAMES && !closed[s] -> select(f: 0 .. FRAMES - 1); giveup(f); serves[f] = s
		:: else
		fi }
	:: atomic { /* and is used: its part is wiped, under the part's lock */
		select(f: 0 .. FRAMES - 1);
		if
		:: serves[f] != 0 && part[f] != serves[f] -> part[f] = serves[f]; mark[f] = false
		:: else
		fi }
	:: break
	od
}

/* A use of the ticket, as ReplayCache.Spend and frame.spend have it. */
proctype use() {
	byte f, g;
	bool seen, wiped;
	/* A hint, perhaps an old one, or open under the lock of the set. */
	if
	:: atomic { select(f: 0 .. FRAMES - 1); serves[f] == 1 }
	:: atomic {
		frameof(1, g);
#ifdef NO_LOOK
		g = FRAMES;
#endif
		if
		:: sealed -> goto refused
		:: !sealed && g < FRAMES -> f = g
		:: !sealed && g == FRAMES && closed[1] -> goto refused
		:: !sealed && g == FRAMES && !closed[1] ->
			select(f: 0 .. FRAMES - 1);
			giveup(f);
			serves[f] = 1
		fi }
	fi;
	/* Here it may stall. Then the part's lock. */
	atomic {
		wiped = false;
		if
		:: part[f] != 1 ->
#ifndef NO_RECHECK
			if
			:: serves[f] != 1 -> goto refused
			:: else
			fi;
#endif
			mark[f] = false;
			wiped = true;
#ifndef NO_NOTE
			part[f] = 1
#endif
		:: else
		fi;
		seen = mark[f];
#ifndef TWO_STEPS
		mark[f] = true;
		if
		:: seen -> goto refused
		:: else -> accepts++; later = later || wiped
		fi
	}
#else
	}
	atomic {
		mark[f] = true;
		if
		:: seen -> goto refused
		:: else -> accepts++; later = later || wiped
		fi
	}
#endif
	;
refused:
	skip
}

/* Seal and Save, and the process that follows: it refuses the ticket if its slot is closed or
 * its mark is there. Under the lock of the set frame by frame, and each part under its own. */
proctype stop() {
	byte f, last;
	bool open;
	atomic { sealed = true; f = 0 };
	open = false;
	do
	:: f < FRAMES ->
		atomic { last = serves[f]; serves[f] = 0 };
#ifdef SEAL_FRAMES
		atomic { if :: last == 1 -> open = true; infile = infile || (part[f] == 1 && mark[f]) :: else fi };
#else
		atomic {
			if
			:: last == 1 -> open = true; infile = infile || (part[f] == 1 && mark[f]); part[f] = 0
			:: else -> part[f] = 0
			fi };
#endif
		f++
	:: else -> break
	od;
	atomic {
		infile = infile || closed[1];
		saved = true
	}
}

init {
	byte i;
	atomic {
		i = 0;
		do :: i < USES -> run use(); i++ :: else -> break od;
		run others();
		run stop()
	};
	/* All uses and the rest are over: the process that follows shows the ticket once more. */
	atomic { _nr_pr == 1 -> if :: !infile -> accepts++ :: else fi };
#ifdef ACCEPTS
	assert(accepts == 0)
#else
#ifdef ACCEPTS_LATER
	assert(!later)
#else
	assert(accepts <= 1)
#endif
#endif
}
