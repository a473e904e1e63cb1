/*
** The border between C and Go: what bridge.go calls in consumer.c and shim.c, and the few
** functions of bridge.go that those call. Each comment names the thread and the owner.
*/
#ifndef SEAWAL_SHIM_H
#define SEAWAL_SHIM_H

#include <stdint.h>

typedef struct SeawalTap SeawalTap;

/* The result of a commit with durability=remote that isn't known to be in the replica: an SQLITE_WARNING. */
#define SEAWAL_NOT_DURABLE       (28 | (94<<8))
#define SEAWAL_NOT_DURABLE_TEXT  "seawal: committed locally, replication unknown"

/* The result of one that could not have told so, and was rolled back: an SQLITE_ERROR. */
#define SEAWAL_UNTOLD            (1 | (94<<8))

/* What became of a commit's pages. The numbers are shipper.CommitKind's. */
#define SEAWAL_FRAMES  1   /* in the ring, in WAL layout */
#define SEAWAL_RANGE   2   /* to be read back from the WAL file */
#define SEAWAL_GAP     3   /* known only by its outcome */

#define SEAWAL_BATCH       64    /* commits that one call of seawal_tap_next() returns */

/* One or more captured commits, as the consumer sees them. */
typedef struct SeawalCommit SeawalCommit;
struct SeawalCommit {
  int eKind;                 /* SEAWAL_FRAMES, _RANGE or _GAP */
  uint32_t szPage;           /* bytes */
  uint32_t nPage;            /* size of the database after the commit, pages */
  uint32_t aSalt[2];         /* generation of the WAL, 0 in rollback journal modes */
  uint32_t iFirst;           /* frames (iFirst, iLast] */
  uint32_t iLast;
  uint64_t iTicket;          /* of the last commit in it */
  uint64_t nCommit;          /* commits in it */
  int64_t iTime;             /* of the last of them, unix nanoseconds */
  int64_t iTimeFirst;        /* of the first of them */
  const uint8_t *aPiece[2];  /* SEAWAL_FRAMES: into the ring, valid until released */
  uint64_t anPiece[2];       /* bytes */
  uint64_t iEnd;             /* private to the C side: ring position behind it */
};

/* Ranges that follow each other are one entry of the queue as long as their commits lie no further apart than a second, or
** than this part of the age of the oldest entry: an outage of a day takes 1,500 entries, and all commits of an entry have the
** time of its last one in the replica. Go does the same with what one replica of several has yet to read. */
#define SEAWAL_MERGE_SPAN  1000000000   /* nanoseconds */
#define SEAWAL_MERGE_PART  256

/* What the log holds, for BeginRead. */
typedef struct SeawalPlace SeawalPlace;
struct SeawalPlace {
  int isWal;                 /* the reader has the WAL open */
  int isInFile;              /* it reads the file alone (READ_LOCK(0)): no frame of the log belongs to its state */
  uint32_t aSalt[2];         /* the last published place */
  uint32_t mxFrame;
  uint32_t szPage;           /* from the wal-index, 0 when there is none */
  uint32_t nPage;
  uint64_t iTicket;          /* last published commit */
  int64_t iTime;             /* of it, unix nanoseconds; 0 when there was none */
};

/* Counters, in the life of the tap. */
typedef struct SeawalStats SeawalStats;
struct SeawalStats {
  uint64_t nCommit;          /* commits captured */
  uint64_t nFrame;           /* frames copied into the ring */
  uint64_t nRange;           /* commits left in the WAL: ring full or transaction too large */
  uint64_t nForeign;         /* times that another process's commits were found */
  uint64_t nGap;             /* times that only the outcome was known */
  uint64_t nHeld;            /* WAL restarts refused */
  uint64_t nGaveUp;          /* times that the checkpointer let a writer pass that had begun to read */
  uint64_t nLate;            /* invariant: bytes still held at the end of a commit. Must stay 0 */
  uint64_t nRing;            /* bytes in use in the ring now */
  uint32_t mxFrame;          /* frames in the WAL */
  uint32_t szPage;
  uint64_t iTicket;          /* last published commit */
  int64_t iTime;             /* of that commit */
  int nOpen;                 /* database connections open, ours included */
  int isLogFull;             /* writers wait for room in the log */
  int isHeld;                /* the log is held back */
  int isUnproven;            /* the consumer has yet to see that file and log follow on what it knows */
};

/* The bytes that fdWake gets. */
#define SEAWAL_WAKE             0   /* the consumer is to run */
#define SEAWAL_WAKE_CHECKPOINT  1   /* the log has grown: seawal_tap_ask() */
#define SEAWAL_WAKE_GIVE_WAY    2   /* the application waits for a lock: our own connections are to be closed */
#define SEAWAL_WAKE_CLOSED      3   /* the last file was closed, with seawal_tap_alone() on */
#define SEAWAL_WAKE_MOVED       4   /* the file is not at its path any more: seawal_tap_moved() */
#define SEAWAL_WAKE_OUTGROWN    5   /* the log has grown past its bound while states are pinned: give them up */

/* Roles of our own connections, told by the URI parameter seawal_role; it counts only beside the right seawal_key, since
** whoever may ATTACH can give any. A reader says with seawal_reader which
** one it is, from 0 to SEAWAL_READERS-1: there is one for each replica. */
#define SEAWAL_APP         0
#define SEAWAL_READER      1
#define SEAWAL_CHECKPOINT  2
#define SEAWAL_READERS     8

/* Registers the VFS zName over the VFS zLower (NULL: the default one). Any
** thread. Idempotent for the same pair. *pzErr is a static message on failure. */
int seawal_shim_register(const char *zName, const char *zLower, const char **pzErr);

/* Says whether a SQLite of this version number may be used: it has the fix of the WAL-reset bug. */
int seawal_version_ok(int iVersion);

/* What tells that the program's SQLite encrypts databases; 0: it doesn't. */
const char *seawal_codec(void);

/* Full pathname as the VFS zName makes it: the identity of a database. Returns an SQLite code. */
int seawal_full_pathname(const char *zVfs, const char *zPath, char *zOut, int nOut);

/* A database file, opened by the VFS zVfs (NULL: the default one) for reading, with no connection. Closed by a descriptor of
** our own, the file would lose every POSIX lock that the process has on it; the VFS keeps them. One thread at a
** time. Each returns an SQLite code; *ppFile is to be closed after SQLITE_OK. */
typedef struct SeawalFile SeawalFile;
int seawal_file_open(const char *zVfs, const char *zPath, SeawalFile **ppFile);
int seawal_file_read(SeawalFile*, void *pBuf, int nByte, int64_t iOfst);
int seawal_file_size(SeawalFile*, int64_t *pnByte);
int seawal_file_close(SeawalFile*);

/* The same for one that nobody has open and nobody can open until it is closed: SQLITE_BUSY while a connection uses it, an idle one
** in WAL mode too. The log isn't touched. */
int seawal_file_claim(const char *zVfs, const char *zPath, SeawalFile **ppFile);

/* A tap is created before the first connection to its database is opened and
** destroyed after the last one was closed; Go owns it. fdWake gets a byte, one of
** SEAWAL_WAKE..., and must not block; Go owns the descriptor and keeps it open as long as the tap lives. */
SeawalTap *seawal_tap_create(const char *zPath, uint64_t szRing, uint64_t mxWal,
                             int isBlock, int fdWake, uint64_t iHandle);
int seawal_tap_destroy(SeawalTap*);  /* SQLITE_BUSY while a file is open */

/* The consumer's side; the caller serialises. next() returns up to SEAWAL_BATCH commits that
** it has not returned before; they are there until the next call. idle() arms the wake-up and returns 1, or returns 0 when there is something. */
const SeawalCommit *seawal_tap_next(SeawalTap*, int *pnOut);
void seawal_tap_release(SeawalTap*, uint64_t iTicket);
int seawal_tap_idle(SeawalTap*);

/* Which pages may have been written by commits behind the ticket iSince, whoever made them. Copies the bits of the first chunk from
** *piChunk on that has any to aOut, and its number to *piChunk; page n is bit n%64 of word n/64 of all chunks. SEAWAL_PAGES_END when
** there is none. Every page behind *pnLeast is in the set, too. *piTurn is the same for all chunks of one set, or the caller begins anew. SEAWAL_PAGES_ALL
** when any page may have been written.
** forget() says that iSince won't be less than iTicket any more: what was written before may be forgotten. Any thread. */
#define SEAWAL_PAGE_WORDS    512
#define SEAWAL_PAGES_CHUNK   0
#define SEAWAL_PAGES_END     1
#define SEAWAL_PAGES_ALL     2
int seawal_tap_written(SeawalTap*, uint64_t iSince, uint32_t *piChunk, uint64_t *aOut, uint32_t *pnLeast, uint64_t *piTurn);
void seawal_tap_forget(SeawalTap*, uint64_t iTicket);

/* Any thread. */
void seawal_tap_stats(SeawalTap*, SeawalStats*);
void seawal_tap_last(SeawalTap*, uint64_t *piTicket, int64_t *piTime);
void seawal_tap_persist(SeawalTap*, int isPersist);  /* at the last close leave the WAL file as it is */
void seawal_tap_ask(SeawalTap*, uint32_t nFrame);    /* ask once for a checkpoint when nFrame more are in the log; 0: never */

/* Looks whether another process has committed, and publishes what it did, as far as the mapped wal-index of one of
** our connections tells: no call of SQLite, and no system call. Any thread. Returns one of these. */
#define SEAWAL_POLL_DONE      0   /* nothing, or it was published; or we are writing: whoever lets go of a lock looks by itself */
#define SEAWAL_POLL_COUNTER   1   /* a rollback journal mode: ask seawal_tap_counter() */
#define SEAWAL_POLL_UNMAPPED  2   /* none of our connections has the log open */
int seawal_tap_poll(SeawalTap*);

/* Where the database is, in terms that every process which has it open shares, with the last commit in it. Any thread. */
typedef struct SeawalMark SeawalMark;
struct SeawalMark {
  int isCounter;             /* a rollback journal mode, or a log that has just begun: iCounter counts */
  uint32_t iCounter;
  uint32_t aSalt[2];
  uint32_t mxFrame;
  uint64_t iTicket;
  int isBegun;               /* the log with aSalt began right after the commit with the next number, 0 for none */
  uint64_t iBegun;
};
void seawal_tap_mark(SeawalTap*, SeawalMark*);

/* 1 when another file than the one that was opened first is at the database's path, or none: for good. One system
** call. Any thread. */
int seawal_tap_moved(SeawalTap*);

/* What is wrong with the files beside the database, of those that are in use now; 0 for nothing. A log that is shorter than what was
** published may be one that another process has just started again: it counts when it is found twice with one place. Any thread. */
#define SEAWAL_WAL_GONE       1   /* the log that is open is not at its path */
#define SEAWAL_WAL_CUT        2   /* it lacks frames that are committed */
#define SEAWAL_SHM_GONE       4   /* the wal-index that is mapped is not at its path */
int seawal_tap_companions(SeawalTap*);

/* The inodes of the database file and of the wal-index, when connections of this process have a lock on both for as long as they are open:
** in WAL mode. Else 0. Any thread. */
uint64_t seawal_tap_locked(SeawalTap*, uint64_t *piShm);

/* 1 when the file's VFS has no locks, so that nothing of it can be replicated: it was refused. Any thread. */
int seawal_tap_lockless(SeawalTap*);

/* Says which URI parameter seawal_key makes a connection one of our own. Before the first one is opened. */
void seawal_set_key(const char *zKey);

/* The file of reader connection iReader; the caller serialises them with every other
** use of that connection. place() is for a connection that
** is in a read transaction: it tells where that is, and holds the log back
** until unpin(). It returns SQLITE_BUSY when the log and what was published disagree:
** a commit is on its way, or another process wrote.
**
** A pinned state keeps the log from being started again, so it is bounded: at mxWal bytes of log, or, where the log was nearly as large
** when it was pinned, after half as much more, Go is told to give it up (SEAWAL_WAKE_OUTGROWN). With isBlock writers wait instead. nLost
** is how many states in a row were lost so: from the fourth on the bound doubles each time, or a database that is
** written faster than it can be read would never be read to its end. */
int seawal_tap_counter(SeawalTap*, int iReader);  /* 1 when the change counter isn't the one that is known; takes no lock of SQLite's */
int seawal_tap_read(SeawalTap*, int iReader, void *pBuf, int nByte, int64_t iOfst);
int seawal_tap_file_size(SeawalTap*, int iReader, int64_t *pnByte);
int seawal_tap_sync(SeawalTap*, int iReader);   /* what the log holds reaches the disk */
int seawal_tap_place(SeawalTap*, int iReader, int nLost, SeawalPlace*);
void seawal_tap_unpin(SeawalTap*);

/* Any thread. Adds n, 1 or -1, to the consumers that have yet to read back from the log what they
** released: as long as there is one, the log is held back (up to mxWal) as it is for a range. */
void seawal_tap_hold(SeawalTap*, int n);

/* What the consumers, one for each replica, are at. */
#define SEAWAL_ATTACHED   0   /* all follow on their replicas */
#define SEAWAL_ATTACHING  1   /* one has yet to: a process that died left transactions in the log which are in no ring */
#define SEAWAL_STANDBY    2   /* another process ships, to all of them */
#define SEAWAL_SHARED     3   /* others ship to some; ours follow on the rest */

/* Any thread. In all but the first, the log is held back, up to mxWal: others have yet to read it. Past that, with isBlock,
** as long as one is attaching, or isUnread: another process has yet to say that it has what was committed here. Then writers wait. */
void seawal_tap_attach(SeawalTap*, int eAttach, int isUnread);

/* Says that the file was found empty after the commit with this ticket, the last one; SQLITE_BUSY when it
** isn't the last any more. Any thread. */
int seawal_tap_empty(SeawalTap*, uint64_t iTicket);

/* Nobody consumes from now on, or somebody does again. Any thread. */
void seawal_tap_alone(SeawalTap*, int isAlone);

/* For tests: every commit from now on is so many nanoseconds later, or earlier. Any thread. */
void seawal_clock_skew(int64_t nSkew);

/* In bridge.go, called on the thread of the connection. zName and zArg belong
** to SQLite. seawalGoPragma returns 1 when it knows the pragma, with a string from
** malloc() in *pzOut, *pIsError saying which kind, *piRemote 0 or 1 when the durability of this connection changes, and *pmsTimeout
** when its limit does; else they are left alone, as they are set now. */
int seawalGoPragma(uint64_t iHandle, char *zName, char *zArg,
                   char **pzOut, int *pIsError, int *piRemote, int64_t *pmsTimeout);
/* Waits until the ticket is durable, and returns 1; or 0 when that isn't known: the statement is interrupted, the time is over (0: no
** limit), nobody ships any more, or, with isPinning, the log has grown past mxWal. */
int seawalGoWait(uint64_t iHandle, uint64_t iTicket, int64_t msTimeout, int isPinning, void *db);
/* A file of the connector iOwner was opened (n 1), or is closed (n -1) and all that belongs to it is gone. */
void seawalGoOwned(uint64_t iOwner, int n);
/* A transaction is about to end with SEAWAL_UNTOLD: it has changed several databases, or ends with a RELEASE. */
void seawalGoRefused(uint64_t iHandle, int isOfSeveral);

#endif
