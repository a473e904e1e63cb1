/*
** What the C files of the shim share: the state of a replicated database, of an open file, and the
** functions by which a file's methods tell what SQLite did (capture.c). shim.c has the manual.
**
** What is not static is hidden from the program's dynamic symbols, and has the prefix seawal.
*/
#ifndef SEAWAL_TAP_H
#define SEAWAL_TAP_H

#include <pthread.h>
#include <sys/stat.h>

#include "sqlite_abi.h"
#include "shim.h"

/* Pointers and longs of 8 bytes: the platforms that Go's cgo and this shim share. */
_Static_assert(sizeof(void*)==8 && sizeof(int)==4, "seawal needs an LP64 platform");

#pragma GCC visibility push(hidden)

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
typedef sqlite3_int64 i64;

#define WAL_HDRSIZE        32       /* header of the WAL file */
#define WAL_FRAME_HDRSIZE  24       /* header of a frame */
#define WAL_WRITE_LOCK      0       /* slots of xShmLock, as wal.c numbers them */
#define WAL_CKPT_LOCK       1
#define WAL_READ_LOCK0      3
#define WAL_NREADER         5

#define SHM_ISINIT         12       /* offsets in the wal-index header */
#define SHM_SZPAGE         14
#define SHM_MXFRAME        16
#define SHM_NPAGE          20
#define SHM_SALT           32
#define SHM_HDRSIZE        48       /* of one of its two copies */
#define SHM_BACKFILL       96       /* offset of WalCkptInfo.nBackfill */

#define DB_COUNTER         24       /* offset of the change counter in the database header */

/* A file control of our own: sets an int to 1 where the file belongs to a tap. */
#define FCNTL_IS_TAPPED    0x5ea3a1

/* Another: sets a pointer to the file's SeawalTail there. */
#define FCNTL_TAIL         0x5ea3a2

/* The clock of SeawalTap.cond. */
#ifdef __APPLE__
#define COND_CLOCK         CLOCK_REALTIME
#else
#define COND_CLOCK         CLOCK_MONOTONIC
#endif

/* The unix VFS writes at most 128 KiB - 1 in one system call. */
#define HOLD_MAX           131071

/* Commits in the queue. With a full queue commits are merged into ranges. */
#define QUEUE_MAX          4096

/* With the log held back, a checkpoint is worth trying again after this many
** frames: SQLite's own default for wal_autocheckpoint. */
#define CKPT_RETRY         1000

/* How long the application waits for our connections to let go of the database file: longer than
** the reader takes (rollbackPatience in source.go) or a pass of the checkpointer. */
#define GIVE_WAY_MS     10000

/* How long a connection of the application waits before it looks again, ms. */
#define WAIT_MS            20

/* How long our checkpointer, which holds the writers of every process up, waits for what another process has
** committed to be read back. */
#define FINISH_WAIT_MS    100

/* How often it looks, with the writers held up, whether the readers of an older state are gone: for 3 ms at least, in all. Most read for
** less than that; one that takes longer keeps the log from being started again, as it would be for anybody. */
#define READER_LOOKS       64
#define READER_PAUSE_US    50       /* between two; nobody tells when a reader is gone */

/* How long a connection that writes again and again waits before it reads, for a log that has grown past its bound to be started again. */
#define OUTGROWN_MS       200

/* How many pinned states in a row may be lost to the growth of the log before it may grow further. */
#define PIN_LOSSES          3

/* How long our checkpointer lets those pass that began before it wanted WAL_WRITE_LOCK. */
#define LET_PASS_MS         2

#define TAIL_MAGIC         0x5ea3a1f1u

/* Pages that one chunk of a SeawalPages is of: 4 KiB of bits. */
#define PAGES_IN_CHUNK  (SEAWAL_PAGE_WORDS*64)

typedef struct SeawalMethods SeawalMethods;
typedef struct SeawalTail SeawalTail;
typedef struct SeawalVfs SeawalVfs;

/* A copy of a real method table with our entries. Never changed once made,
** never freed: open files point at it. */
struct SeawalMethods {
  sqlite3_io_methods base;         /* must be first: sqlite3_file.pMethods points here */
  const sqlite3_io_methods *pReal; /* what base is a copy of */
  int szLower;                     /* bytes of the lower VFS's file object: where our tail begins */
  int isWal;                       /* for WAL files, else for main files */
  SeawalMethods *pNext;            /* next in shimMethods */
};

/* What we keep for an open file, behind the lower VFS's object. Used by the
** thread that uses the connection only. */
struct SeawalTail {
  u32 iMagic;                /* TAIL_MAGIC when the file belongs to a tap */
  int eRole;                 /* SEAWAL_APP, _READER or _CHECKPOINT */
  int iReader;               /* SEAWAL_READER only: which one */
  SeawalTap *pTap;           /* the database */
  SeawalTail *pMain;         /* WAL file: main file of the same connection */
  /* main files only */
  sqlite3_file *pWal;        /* the connection's WAL while it is open */
  const volatile u8 *aShm;   /* region 0 of the wal-index, once mapped; changed under SeawalTap.mutex */
  SeawalTail *pNextMapped;   /* next in SeawalTap.pMapped; SeawalTap.mutex */
  sqlite3 **ppDb;            /* where SQLite keeps the connection that uses the file; see connOf() */
  const char *zName;         /* as SQLite gave it, with the journal's behind it: valid while the file is open */
  sqlite3_vfs *pLower;       /* the VFS that opened it */
  int isWriter;              /* holds WAL_WRITE_LOCK */
  int isUnsure;              /* the wal-index was invalid when the lock was taken */
  int iReadLock;             /* read lock held, -1 for none */
  int nPatience;             /* _CHECKPOINT only: looks that are left of READER_LOOKS */
  int mWrote;                /* bit 0: this transaction has had WAL_WRITE_LOCK; bit 1: the one before had */
  int isAutoOff;             /* wal_autocheckpoint was set to 0 */
  int isAutoLent;            /* and is on while the connection is EXCLUSIVE */
  int isHooked;              /* attachedHook() is its wal hook in place of it */
  int isWhole;               /* of the application's: it has the EXCLUSIVE lock on the file */
  int isUnlocked;            /* it is SeawalTap.pUnlocked */
  int nUnlocked;             /* WAL writes without WAL_WRITE_LOCK since the last commit */
  int isJournal;             /* pages of a rollback-journal transaction were captured */
  int eLocked;               /* ours only: the lock that it has on the file, or has tried to get beyond SHARED */
  int isShared;              /* connections share a cache, and this file */
  int isLeaving;             /* the WAL was closed under the EXCLUSIVE lock that is still held */
  int isExclusive;           /* PRAGMA locking_mode=EXCLUSIVE: locks are kept */
  int isPersistWal;          /* SQLITE_FCNTL_PERSIST_WAL was set */
  int isRemote;              /* durability=remote: a commit returns when it is durable */
  int isDurabilitySet;       /* a PRAGMA has set isRemote; else an attached database has the main one's */
  i64 msTimeout;             /* how long such a commit waits, milliseconds; 0: no limit */
  u64 iTicket;               /* last commit of this connection */
  u64 iWaited;               /* the last one it waited for */
  u64 iOwner;                /* the connector that opened it, by its number; 0: none. Never changes */
  int isLetGo;               /* the read lock iReadLock was given back before SQLite does that */
  int nOfTxn;                /* databases of the transaction that commits; 0 without durability=remote */
  int isOwed;                /* owedHook() in remote.c is the connection's wal hook, for this file */
  void *pOldHook;            /* argument of the one that it took the place of */
  /* WAL files only */
  i64 iHold;                 /* file offset of the first held byte */
  int nHold;                 /* bytes held in pTap->aHold; >0 only while pMain->isWriter */
  int isStraight;            /* SeawalVfs.isStraight */
  int isHoldCommit;          /* the frame being held commits */
  int isHeader;              /* EXCLUSIVE only: the last write was a frame header, at iHold; aHold has it */
};

/* A file by what names it to the system. */
typedef struct SeawalPlaceOf SeawalPlaceOf;
struct SeawalPlaceOf {
  u64 iDev;
  u64 iInode;                /* 0: not known */
};

/* Pages that may have been written by commits behind iBegin; see pages.c. */
typedef struct SeawalPages SeawalPages;
struct SeawalPages {
  u64 **apChunk;             /* bits of the pages from i*PAGES_IN_CHUNK on; 0: none of them */
  u32 nChunk;                /* entries of apChunk */
  u32 nLeast;                /* size of the database after the smallest of those commits, pages: what lies behind it was cut off */
  int isAll;                 /* any page may have been written */
  u64 iBegin;                /* the last commit before */
};

/* One replicated database in this process. */
struct SeawalTap {
  char *zPath;               /* full pathname; never changes */
  SeawalTap *pNext;          /* next in allTaps; tapsMutex */
  u64 iHandle;               /* names the database to Go; never changes */
  u64 mxWal;                 /* bytes of WAL before the policy applies; never changes */
  int isBlock;               /* that policy: writers wait. Never changes */
  int fdWake;                /* a byte here wakes the consumer; never changes */
  u8 *aHold;                 /* HOLD_MAX bytes; whoever holds WAL_WRITE_LOCK */
  sqlite3_file *apReader[SEAWAL_READERS]; /* files of our reading connections; the user of each serialises */

  pthread_mutex_t mutex;     /* for all that follows */
  pthread_cond_t cond;       /* nOurs, nWant, or the room in the log changed */
  int nOpen;                 /* main files open */
  int isPersist;             /* leave the WAL as it is at the last close */
  int isAppPersist;          /* PERSIST_WAL of the connection of the application that was closed last */
  int nOurs;                 /* our own connections, the checkpointer most of all, that hold WAL_WRITE_LOCK or just try to get it */
  u64 iOurs;                 /* times that they got it */
  int isFinishing;           /* and waits for ranges to be read before it starts the log again */
  int nWant;                 /* our checkpointer waits for WAL_WRITE_LOCK: others let it pass */
  int isImpatient;           /* and has done so for long enough: also those that have begun to read */
  int nStuck;                /* connections that wait for it to let go, with a read lock that it waits for */
  int nLocked;               /* our own connections that have a lock on the file */
  int nStrong;               /* and of them, those with more than a SHARED one: for a moment only */
  int nGiveWay;              /* connections of the application that wait for them to let go */
  SeawalTail *pMapped;       /* main files that have the wal-index mapped: their aShm can be read here */
  SeawalTail *pWriter;       /* holds WAL_WRITE_LOCK; what it did to the wal-index is published when it lets go */
  SeawalTail *pUnlocked;     /* writes the WAL without it: locking_mode=EXCLUSIVE */
  int nJournal;              /* main files with isJournal set */
  int isFile;                /* iDev and iInode name the file that was opened first */
  u64 iDev;
  u64 iInode;
  int isMoved;               /* another one, or none, is at zPath: nothing that comes now is shipped */
  int isLockless;            /* its VFS has no locks */
  int nWal;                  /* WAL files open */
  SeawalPlaceOf wal;         /* what they, and the mapped wal-index, were when they were opened */
  SeawalPlaceOf shm;
  int mSplit;                /* SEAWAL_WAL_GONE, SEAWAL_SHM_GONE: our connections had different ones */

  /* What was published. */
  int isKnown;               /* the place below is valid */
  u32 aSalt[2];              /* generation of the WAL; zeros: none seen */
  u32 mxFrame;               /* last published frame */
  int isBegun;               /* this process saw the log begin: at its first frame the database was as iBegun left it */
  u64 iBegun;                /* ticket of the last commit before that */
  int isCounter;             /* rollback journal modes: iCounter is valid. 0 once a WAL has begun */
  u32 iCounter;              /* change counter in the file at that place */
  u32 nPage;                 /* database size at that place; 0 when it came from no wal-index */
  u32 szPage;                /* bytes; 0 unknown */
  u32 mxCkpt;                /* mxFrame when a checkpoint was last let through */
  u32 nAsk;                  /* frames in a new generation at which a checkpoint is asked for */
  u32 mxAsk;                 /* mxFrame at which one is asked for next; 0: not */
  u64 iTicket;               /* commits published, by the last one's number */
  i64 iTime;                 /* of the last one, unix nanoseconds */

  /* The transaction being written; changed by the holder of WAL_WRITE_LOCK, or of the
  ** EXCLUSIVE lock in rollback modes. */
  u32 nTxn;                  /* frames copied: mxFrame+1 to mxFrame+nTxn in a WAL */
  u32 mxTxn;                 /* highest frame written */
  u32 iTxnCommit;            /* the last frame written that commits */
  u32 nTxnPage;              /* what it says; without WAL_WRITE_LOCK only */
  int isTxnRange;            /* stopped being copied */
  u64 iTxn;                  /* ring position of its first byte */

  /* Which pages were written: seawalNewest() has those of commits behind its iBegin, seawalOlder() those of the commits
  ** before these. The third one is empty, or about to be. */
  SeawalPages aPages[3];
  u64 iTurn;                 /* times that they have changed places */
  int isTurn;                /* they are to do so as soon as no transaction is open */
  int isSpareUsed;           /* the third one has to be emptied first */

  /* The ring: bytes [iTail, iHead) are in use, positions modulo szRing. */
  u8 *aRing;
  u64 szRing;
  u64 iTail;                 /* first byte that is not released */
  u64 iHead;                 /* where the next frame goes, open transaction included */

  /* The queue of commits: [iQTail, iQHead), positions modulo QUEUE_MAX. */
  SeawalCommit *aQueue;
  u64 iQTail;                /* oldest that is not released */
  u64 iQNext;                /* oldest that next() has not returned */
  u64 iQHead;                /* where the next commit goes */
  SeawalCommit aOut[SEAWAL_BATCH]; /* what next() returned last; the consumer's alone */
  int nRange;                /* ranges that are not released */
  int isForeign;             /* and what another process committed is among them, or was */
  int nPin;                  /* states that place() has pinned */
  u64 mxPinned;              /* bytes of WAL from which they are to be given up: see seawal_tap_place() */
  int isOutgrown;            /* the log is past mxWal, and our checkpointer is about to start it again */
  int nHold;                 /* consumers that have yet to read back what was released to make room */
  int isAlone;               /* nobody consumes: nothing is held back, nobody waits */
  int eAttach;               /* what the consumers are at: SEAWAL_ATTACHED and so on */
  int isUnread;              /* another process has yet to ship what was committed here */
  int isIdle;                /* the consumer wants to be woken */
  int isFull;                /* it was woken for a quarter of the ring */

  SeawalStats stats;
};

struct SeawalVfs {
  sqlite3_vfs base;          /* must be first */
  sqlite3_vfs *pLower;       /* what the shim lies over */
  int isStraight;            /* what is written arrives as it is, wherever it lies in a write: writes may be joined */
  SeawalVfs *pNext;          /* next in shimVfs; shimMutex */
};

#define METHODS(pFile)  ((const SeawalMethods*)(pFile)->pMethods)
#define ORIGFILE(pFile) (METHODS(pFile)->pReal)
#define TAIL(pFile)     ((SeawalTail*)&((u8*)(pFile))[METHODS(pFile)->szLower])
#define ORIGVFS(pVfs)   (((SeawalVfs*)(pVfs))->pLower)

/* The connection that uses the file now. Connections with a shared cache take turns, and SQLite keeps the place up to date; it
** is there as long as the file is open. 0 while the file is being opened. */
static inline sqlite3 *connOf(const SeawalTail *p){ return p->ppDb ? *p->ppDb : 0; }

/* The wal-index header, read while WAL_WRITE_LOCK is held or for a comparison. */
typedef struct IndexHdr IndexHdr;
struct IndexHdr {
  u32 aSalt[2];              /* generation */
  u32 mxFrame;               /* last committed frame */
  u32 nPage;                 /* database size, pages */
  u32 szPage;                /* bytes */
};

static inline u32 get4(const u8 *a){
  return ((u32)a[0]<<24) | ((u32)a[1]<<16) | ((u32)a[2]<<8) | (u32)a[3];
}

static inline void put4(u8 *a, u32 v){
  a[0] = (u8)(v>>24); a[1] = (u8)(v>>16); a[2] = (u8)(v>>8); a[3] = (u8)v;
}

static inline int min(int a, int b){ return a<b ? a : b; }

static inline int isSameSalt(const u32 *a, const u32 *b){
  return a[0]==b[0] && a[1]==b[1];
}

static inline u32 slotSize(const SeawalTap *pTap){
  return WAL_FRAME_HDRSIZE + pTap->szPage;
}

static inline i64 frameOffset(const SeawalTap *pTap, u32 iFrame){
  return WAL_HDRSIZE + (i64)(iFrame-1)*slotSize(pTap);
}

/* Says whether the log is smaller than it may grow. */
static inline int hasRoomLocked(const SeawalTap *pTap){
  return (u64)pTap->mxFrame*slotSize(pTap) < pTap->mxWal;
}

/* In how many frames a checkpoint is asked for next: as many as were said, but in time for a small mxWal. */
static inline u32 askLocked(const SeawalTap *pTap){
  u64 n = pTap->szPage ? pTap->mxWal/2/slotSize(pTap) : pTap->nAsk;
  return n<pTap->nAsk ? (u32)n+1 : pTap->nAsk;
}

/* Says whether the log is held back: for a pinned state that is being read, for
** ranges that nobody has read yet, for what was in it when the database was opened, or for what other processes ship. */
static inline int isHeldBackLocked(const SeawalTap *pTap){
  if( pTap->nPin>0 ) return 1;
  if( pTap->isAlone ) return 0;
  if( pTap->nRange>0 || pTap->nHold>0 || pTap->eAttach==SEAWAL_ATTACHING ) return pTap->isBlock || hasRoomLocked(pTap);
  return pTap->eAttach!=SEAWAL_ATTACHED && ((pTap->isBlock && pTap->isUnread) || hasRoomLocked(pTap));
}

/* Says whether nobody here knows yet that file and log follow on what the replicas have: as long as nothing is written from one
** to the other, that can be seen. */
static inline int isUnprovenLocked(const SeawalTap *pTap){
  return (pTap->eAttach==SEAWAL_ATTACHING || pTap->eAttach==SEAWAL_STANDBY) && isHeldBackLocked(pTap);
}

/* Says whether the log has something that nobody has read, so that it must not go with the application's last connection. */
static inline int isNeededLocked(const SeawalTap *pTap){
  return (pTap->eAttach!=SEAWAL_ATTACHED || pTap->nHold>0 || pTap->iQHead>pTap->iQTail) && !pTap->isAlone
      && (pTap->isBlock || hasRoomLocked(pTap));
}

/* Says whether a writer waits for room in the log. */
static inline int isLogFullLocked(const SeawalTap *pTap){
  return pTap->isBlock && !pTap->isAlone && !hasRoomLocked(pTap)
      && (pTap->nRange>0 || pTap->nHold>0 || pTap->nPin>0 || pTap->isUnread || pTap->eAttach==SEAWAL_ATTACHING);
}

/* In capture.c; all but the first four (and seawalSyncPlaceLocked, by a poll) are called on the thread of a connection, while SQLite
** is in the file's method that says so. */
int seawalReadIndexHdr(const volatile u8 *aShm, IndexHdr *pHdr);
u32 seawalReadBackfill(const volatile u8 *aShm);
int seawalReadCounter(sqlite3_file *pFile, u32 *piCounter);
void seawalSignalGo(SeawalTap*, char c);
void seawalNoteMapped(SeawalTail*, const volatile u8 *aShm);
void seawalNoteJournalLocked(SeawalTail*, int isJournal);
void seawalNoteUnlocked(SeawalTail*);
void seawalNoteLocked(SeawalTail*);
int seawalNoteOpened(SeawalTap*);
int seawalStatCompanion(const SeawalTap*, const char *zSuffix, struct stat *pOut);
void seawalNoteCompanion(SeawalTap*, const char *zSuffix, SeawalPlaceOf *pOf, int nWal);
int seawalIsMovedLocked(SeawalTap*);
void seawalDropTxnLocked(SeawalTap*);
void seawalSyncPlaceLocked(SeawalTap*, const IndexHdr*);
void seawalSyncCounterLocked(SeawalTap*, int isRead, u32 iCounter);

/* WAL mode: pFile is the WAL, but of beginWrite and noteWalDelete the main file. */
int seawalFlushHold(sqlite3_file *pFile);
void seawalNoteWalHeader(SeawalTap*, const u8 *a);
void seawalNoteFrame(SeawalTail*, const u8 *a, int nByte, i64 iOfst);
void seawalNoteDirectWrite(SeawalTail*, const u8 *a, int nByte, i64 iOfst);
void seawalNoCommit(SeawalTap*);
void seawalBeginWrite(sqlite3_file *pFile);
void seawalEndWrite(SeawalTail*);
void seawalCommitUnlocked(SeawalTail*);
void seawalNoteWalDelete(sqlite3_file *pFile);

/* Rollback journal modes: pFile is the main file. */
void seawalBeginJournal(sqlite3_file *pFile);
void seawalNotePage(SeawalTap*, int nByte, i64 iOfst);
void seawalCapturePage(SeawalTail*, const u8 *a, int nByte, i64 iOfst);
void seawalCommitJournal(sqlite3_file *pFile);
void seawalEndJournal(sqlite3_file *pFile);

/* In remote.c: commits that wait for the replica. pFile is the main file. The results are the statement's. */
void seawalNoteCommitting(SeawalTail*);
int seawalRefuseUntold(SeawalTail*, const char *zSuper);
int seawalAwaitWal(sqlite3_file *pFile);
int seawalAwaitJournal(sqlite3_file *pFile);
int seawalAwaitUnlocked(sqlite3_file *pFile, int eLock);
void seawalForgetOwed(SeawalTail*);

/* In shim.c: the wal hook of a connection whose replicated databases seawal checkpoints. */
int seawalAttachedHook(void*, sqlite3*, const char *zDb, int nFrame);

/* In pages.c: which pages were written. */
void seawalMarkLocked(SeawalTap*, u32 iPage);
void seawalMarkAllLocked(SeawalTap*);
void seawalNoteSizeLocked(SeawalTap*, u32 nPage);
void seawalSetPageSizeLocked(SeawalTap*, u32 szPage);
void seawalTurnLocked(SeawalTap*);
void seawalFreePages(SeawalTap*);

/* In consumer.c: the tap of a main file, which it counts in; 0 when there is none. */
SeawalTap *seawalTapFor(const char *zName);

#pragma GCC visibility pop

#endif
