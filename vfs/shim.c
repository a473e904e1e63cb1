/*
** A VFS that sees every write which SQLite makes to the WAL of a replicated
** database, and hands the committed page frames to a consumer in Go.
**
** USING
**
** seawal_shim_register("seawal", 0) puts the shim over the default VFS. A
** database is replicated when seawal_tap_create() was called with its full
** pathname before it is opened; every other file is opened straight on the
** lower VFS and never seen again. Open with "file:app.db?vfs=seawal".
**
** IMPLEMENTATION NOTES
**
** Files are not wrapped. The lower VFS opens the caller's sqlite3_file in
** place; behind its object lies our tail (szOsFile = lower + SeawalTail), and
** pMethods is pointed at a copy of the real method table in which a few entries are
** ours. Reads, mmap and shared memory of the database stay native. There is one copy for each
** real table, since a VFS has several (unix: one for databases, another for WALs).
**
** A SeawalTap is what all connections of this process to one database share:
** a mutex, the place in the WAL up to which commits were published, a queue of
** commits, and a ring of bytes with their frames in WAL layout:
**
**    offset  size
**         0    24   frame header: page number, database size if it commits,
**                   salt-1, salt-2, checksum-1, checksum-2 (all big-endian)
**        24  page   page image
**
** Frames of one commit lie one behind the other, in two pieces where the ring wraps.
**
** A frame that commits does not prove that its transaction is committed: the
** sync after it may fail, and after a cache spill it is written twice. The
** truth is the wal-index header at the release of WAL_WRITE_LOCK:
**
**    offset  size   of region 0 of the shared memory (native byte order)
**        12     1   isInit
**        14     2   page size, 1 for 65536
**        16     4   mxFrame, the last committed frame
**        20     4   database size, pages
**        32     8   salt-1, salt-2, in the byte order of the WAL file
**        48    48   a second copy of the first 48 bytes; they differ while one is being written
**
** mxFrame beyond the published place is a commit of ours. At the moment the lock is
** taken it is another process's. With locking_mode=EXCLUSIVE no lock is
** ever taken, and the wal-index may be in heap: COMMIT_PHASETWO publishes what the commit frames say. Nothing
** can hold the log back there, so frames are copied as they are written, and a range may become a gap. Since our
** checkpointer is locked out, the connection gets SQLite's automatic checkpoint back meanwhile. In rollback journal modes the pages written to the main file are
** copied and COMMIT_PHASETWO publishes them.
**
** SQLite writes each frame as two small writes. The shim holds the frames of a
** transaction back and hands them to the lower VFS in one write, up to
** HOLD_MAX bytes. It holds only while its connection has WAL_WRITE_LOCK, only frames appended
** in sequence, and never past the end of the frame that commits, so that the error of a
** write reaches SQLite from a write of the same transaction, before the wal-index
** moves. Any other call on the file writes out first. What is still held when
** the lock is released was rolled back and is dropped: nobody may see it, and writing it
** later would overwrite another connection's frames.
**
** A commit that overwrites its own frames, fills more than a quarter of the
** ring, or finds the ring full is published as a range of the WAL. While
** such a range is unread the log is held back: restarting it needs WAL_READ_LOCK(1..4)
** exclusively, and the shim answers SQLITE_BUSY there, as a reader would. Past mxWal bytes
** either writers wait (isBlock) or the log is let go, and the ranges become gaps.
**
** An EXCLUSIVE lock on the database file (to leave WAL mode, for locking_mode=EXCLUSIVE, for a commit
** in a rollback journal mode) is in conflict with our own connections, which keep a SHARED one while they have
** the WAL open. Where the application meets them it waits until Go has closed them, which is at once in WAL mode.
** Only a connection that is being closed is not worth that: it checks whether it is the last one.
**
** LOCK ORDER
**
** shimMutex, then SeawalTap.mutex. Neither is held across a call of the lower
** VFS or of Go. SQLite's own locks are always outside.
**
** LIMITATIONS
**
** Another process's restart of the log is seen only as changed salts: a gap.
** Two transactions of the same connection that commit in EXCLUSIVE mode
** without a COMMIT_PHASETWO between them would be published as one; SQLite never does that.
*/
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sqlite_abi.h"
#include "shim.h"

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

#define DB_COUNTER         24       /* offset of the change counter in the database header */

/* A file control of our own: sets an int to 1 where the file belongs to a tap. */
#define FCNTL_IS_TAPPED    0x5ea3a1

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

#define TAIL_MAGIC         0x5ea3a1f1u

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
  SeawalTap *pTap;           /* the database */
  SeawalTail *pMain;         /* WAL file: main file of the same connection */
  /* main files only */
  sqlite3_file *pWal;        /* the connection's WAL while it is open */
  const volatile u8 *aShm;   /* region 0 of the wal-index, once mapped */
  sqlite3 *db;               /* the connection */
  int isWriter;              /* holds WAL_WRITE_LOCK */
  int isUnsure;              /* the wal-index was invalid when the lock was taken */
  int iReadLock;             /* read lock held, -1 for none */
  int mWrote;                /* bit 0: this transaction has had WAL_WRITE_LOCK; bit 1: the one before had */
  int isAutoOff;             /* wal_autocheckpoint was set to 0 */
  int isAutoLent;            /* and is on while the connection is EXCLUSIVE */
  int isHooked;              /* attachedHook() is its wal hook in place of it */
  int nUnlocked;             /* WAL writes without WAL_WRITE_LOCK since the last commit */
  int isJournal;             /* pages of a rollback-journal transaction were captured */
  int eLocked;               /* ours only: the lock that it has on the file, or has tried to get beyond SHARED */
  int isShared;              /* connections share a cache, and this file */
  int isLeaving;             /* the WAL was closed under the EXCLUSIVE lock that is still held */
  int isExclusive;           /* PRAGMA locking_mode=EXCLUSIVE: locks are kept */
  int isRemote;              /* durability=remote: a commit returns when it is durable */
  u64 iTicket;               /* last commit of this connection */
  u64 iWaited;               /* the last one it waited for */
  /* WAL files only */
  i64 iHold;                 /* file offset of the first held byte */
  int nHold;                 /* bytes held in pTap->aHold; >0 only while pMain->isWriter */
  int isHoldCommit;          /* the frame being held commits */
  int isHeader;              /* EXCLUSIVE only: the last write was a frame header, at iHold; aHold has it */
};

/* One replicated database in this process. */
struct SeawalTap {
  char *zPath;               /* full pathname; never changes */
  SeawalTap *pNext;          /* next in shimTaps; shimMutex */
  u64 iHandle;               /* names the database to Go; never changes */
  u64 mxWal;                 /* bytes of WAL before the policy applies; never changes */
  int isBlock;               /* that policy: writers wait. Never changes */
  int fdWake;                /* a byte here wakes the consumer; never changes */
  u8 *aHold;                 /* HOLD_MAX bytes; whoever holds WAL_WRITE_LOCK */
  sqlite3_file *pReader;     /* file of our reading connection; its user serialises */

  pthread_mutex_t mutex;     /* for all that follows */
  pthread_cond_t cond;       /* isOurs, nWant, or the room in the log changed */
  int nOpen;                 /* main files open */
  int isPersist;             /* keep the WAL at the last close */
  int isOurs;                /* our checkpointer holds WAL_WRITE_LOCK */
  int nWant;                 /* our checkpointer waits for WAL_WRITE_LOCK: others let it pass */
  int nLocked;               /* our own connections that have a lock on the file */
  int nStrong;               /* and of them, those with more than a SHARED one: for a moment only */
  int nGiveWay;              /* connections of the application that wait for them to let go */

  /* What was published. */
  int isKnown;               /* the place below is valid */
  u32 aSalt[2];              /* generation of the WAL; zeros: none seen */
  u32 mxFrame;               /* last published frame */
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
  int nRange;                /* ranges that are not released */
  int nPin;                  /* states that place() has pinned */
  int isAlone;               /* nobody consumes: nothing is held back, nobody waits */
  int isAttaching;           /* the consumer has yet to see what the log held before it */
  int isIdle;                /* the consumer wants to be woken */
  int isFull;                /* it was woken for a quarter of the ring */

  SeawalStats stats;
};

struct SeawalVfs {
  sqlite3_vfs base;          /* must be first */
  sqlite3_vfs *pLower;       /* what the shim lies over */
  SeawalVfs *pNext;          /* next in shimVfs; shimMutex */
};

#define METHODS(pFile)  ((const SeawalMethods*)(pFile)->pMethods)
#define ORIGFILE(pFile) (METHODS(pFile)->pReal)
#define TAIL(pFile)     ((SeawalTail*)&((u8*)(pFile))[METHODS(pFile)->szLower])
#define ORIGVFS(pVfs)   (((SeawalVfs*)(pVfs))->pLower)

static pthread_mutex_t shimMutex = PTHREAD_MUTEX_INITIALIZER;  /* for these three lists */
static SeawalTap *shimTaps = 0;
static SeawalMethods *shimMethods = 0;
static SeawalVfs *shimVfs = 0;

/******************************* Helpers *************************************/

static u32 get4(const u8 *a){
  return ((u32)a[0]<<24) | ((u32)a[1]<<16) | ((u32)a[2]<<8) | (u32)a[3];
}

static void put4(u8 *a, u32 v){
  a[0] = (u8)(v>>24); a[1] = (u8)(v>>16); a[2] = (u8)(v>>8); a[3] = (u8)v;
}

static int min(int a, int b){ return a<b ? a : b; }

static i64 now(void){
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (i64)t.tv_sec*1000000000 + t.tv_nsec;
}

/* The wal-index header, read while WAL_WRITE_LOCK is held or for a comparison. */
typedef struct IndexHdr IndexHdr;
struct IndexHdr {
  u32 aSalt[2];              /* generation */
  u32 mxFrame;               /* last committed frame */
  u32 nPage;                 /* database size, pages */
  u32 szPage;                /* bytes */
};

/* Reads the header. Returns 0 while it is invalid: nobody has recovered it yet,
** or one is being written. */
static int readIndexHdr(const volatile u8 *aShm, IndexHdr *pHdr){
  u64 aCopy[SHM_HDRSIZE*2/8];
  const u8 *a = (const u8*)aCopy;
  unsigned short sz;
  size_t i;
  if( aShm==0 ) return 0;
  for(i=0; i<SHM_HDRSIZE*2/8; i++) aCopy[i] = ((const volatile u64*)aShm)[i];
  if( a[SHM_ISINIT]==0 || memcmp(a, &a[SHM_HDRSIZE], SHM_HDRSIZE)!=0 ) return 0;
  memcpy(&sz, &a[SHM_SZPAGE], 2);
  pHdr->szPage = (sz & 0xfe00) + ((u32)(sz & 1)<<16);
  memcpy(&pHdr->mxFrame, &a[SHM_MXFRAME], 4);
  memcpy(&pHdr->nPage, &a[SHM_NPAGE], 4);
  pHdr->aSalt[0] = get4(&a[SHM_SALT]);
  pHdr->aSalt[1] = get4(&a[SHM_SALT+4]);
  return 1;
}

/* The change counter in the header of the database file, which every commit in a rollback
** journal mode moves; 0 of an empty file. Returns 0 when it can't be read. */
static int readCounter(sqlite3_file *pFile, u32 *piCounter){
  u8 a[4];
  int rc = ORIGFILE(pFile)->xRead(pFile, a, sizeof(a), DB_COUNTER);
  if( rc!=SQLITE_OK && rc!=SQLITE_IOERR_SHORT_READ ) return 0;
  *piCounter = get4(a);
  return 1;
}

static int isSameSalt(const u32 *a, const u32 *b){
  return a[0]==b[0] && a[1]==b[1];
}

static u32 slotSize(const SeawalTap *pTap){
  return WAL_FRAME_HDRSIZE + pTap->szPage;
}

static i64 frameOffset(const SeawalTap *pTap, u32 iFrame){
  return WAL_HDRSIZE + (i64)(iFrame-1)*slotSize(pTap);
}

/* Tells Go that there is something to do. The descriptor does not block; a full pipe
** means that it has been told already. */
static void signalGo(SeawalTap *pTap, char c){
  ssize_t n;
  do{ n = write(pTap->fdWake, &c, 1); }while( n<0 && errno==EINTR );
}

/* Wakes the consumer. */
static void wakeLocked(SeawalTap *pTap){
  pTap->isIdle = 0;
  signalGo(pTap, SEAWAL_WAKE);
}

/* Says whether the log is held back: for a pinned state that is being read, for
** ranges that nobody has read yet, or for what was in it when the database was opened. */
static int isHeldBackLocked(const SeawalTap *pTap){
  if( pTap->nPin>0 ) return 1;
  return (pTap->nRange>0 || pTap->isAttaching) && !pTap->isAlone
      && (pTap->isBlock || (u64)pTap->mxFrame*slotSize(pTap) < pTap->mxWal);
}

/* Says whether a writer waits for room in the log. */
static int isLogFullLocked(const SeawalTap *pTap){
  return pTap->isBlock && pTap->nRange>0 && !pTap->isAlone
      && (u64)pTap->mxFrame*slotSize(pTap) >= pTap->mxWal;
}

/************************** The ring and the queue ***************************/

/* Gives back what the open transaction has copied. */
static void dropTxnLocked(SeawalTap *pTap){
  pTap->iHead = pTap->iTxn;
  pTap->nTxn = 0;
  pTap->mxTxn = pTap->mxFrame;
  pTap->iTxnCommit = 0;
  pTap->isTxnRange = 0;
}

/* The open transaction is not copied any further: it is to be read back. */
static void stopCopyLocked(SeawalTap *pTap){
  pTap->iHead = pTap->iTxn;
  pTap->nTxn = 0;
  pTap->isTxnRange = 1;
}

/* Room for one frame in the ring; 0 when there is none. A frame never
** straddles the end of the ring: the rest there is skipped. */
static u8 *ringSlotLocked(SeawalTap *pTap, u32 szSlot){
  u64 iHead = pTap->iHead;
  u64 iOff = iHead % pTap->szRing;
  if( iOff+szSlot > pTap->szRing ) iHead += pTap->szRing - iOff;
  if( iHead+szSlot-pTap->iTail > pTap->szRing ) return 0;
  if( iHead+szSlot-pTap->iTxn > pTap->szRing/4 ) return 0;
  pTap->iHead = iHead+szSlot;
  return &pTap->aRing[iHead % pTap->szRing];
}

/* Where the copied bytes of the open transaction lie. */
static void txnPieces(const SeawalTap *pTap, u32 szSlot, SeawalCommit *p){
  u64 iOff = pTap->iTxn % pTap->szRing;
  u64 nFirst = (pTap->szRing - iOff)/szSlot;   /* frames before the end of the ring */
  if( nFirst>pTap->nTxn ) nFirst = pTap->nTxn;
  p->aPiece[0] = &pTap->aRing[iOff];
  p->anPiece[0] = nFirst*szSlot;
  p->aPiece[1] = pTap->aRing;
  p->anPiece[1] = (pTap->nTxn-nFirst)*szSlot;
}

/* Every range that is not released has lost its log. */
static void rangesToGapsLocked(SeawalTap *pTap){
  u64 i;
  for(i=pTap->iQTail; pTap->nRange>0 && i<pTap->iQHead; i++){
    SeawalCommit *p = &pTap->aQueue[i % QUEUE_MAX];
    if( p->eKind==SEAWAL_RANGE ){
      p->eKind = SEAWAL_GAP;
      pTap->nRange--;
      pTap->stats.nGap++;
    }
  }
}

/* Puts a commit into the queue. *p has its kind, place and size; ticket and time are given here. The
** queue always has room: one that is nearly full merges what comes into its last
** range or gap. */
static void enqueueLocked(SeawalTap *pTap, SeawalCommit *p){
  SeawalCommit *pLast = 0;
  p->iTicket = ++pTap->iTicket;
  p->nCommit = 1;
  p->iTime = pTap->iTime = now();
  p->iEnd = pTap->iHead;
  pTap->stats.nCommit++;
  if( p->eKind==SEAWAL_RANGE ) pTap->stats.nRange++;
  if( p->eKind==SEAWAL_GAP ) pTap->stats.nGap++;
  if( pTap->iQHead>pTap->iQNext ) pLast = &pTap->aQueue[(pTap->iQHead-1) % QUEUE_MAX];
  if( pTap->iQHead-pTap->iQTail>=QUEUE_MAX-1 && p->eKind!=pLast->eKind ){
    /* The last place: whatever ranges and gaps come now are one gap. */
    if( p->eKind==SEAWAL_RANGE ) p->eKind = SEAWAL_GAP;
    if( pLast->eKind==SEAWAL_RANGE ){ pLast->eKind = SEAWAL_GAP; pTap->nRange--; }
  }
  if( pLast && p->eKind!=SEAWAL_FRAMES && pLast->eKind==p->eKind
   && (p->eKind==SEAWAL_GAP
       || (isSameSalt(pLast->aSalt, p->aSalt) && pLast->iLast==p->iFirst)) ){
    pLast->iLast = p->iLast;
    memcpy(pLast->aSalt, p->aSalt, sizeof(p->aSalt));
    pLast->nPage = p->nPage;
    pLast->szPage = p->szPage;
    pLast->iTicket = p->iTicket;
    pLast->nCommit++;
    pLast->iTime = p->iTime;
  }else{
    pTap->aQueue[pTap->iQHead++ % QUEUE_MAX] = *p;
    if( p->eKind==SEAWAL_RANGE ) pTap->nRange++;
  }
  if( pTap->isIdle ){
    wakeLocked(pTap);
  }else if( !pTap->isFull && pTap->iHead-pTap->iTail > pTap->szRing/4 ){
    pTap->isFull = 1;
    wakeLocked(pTap);
  }
}

/* Says whether another commit with frames of its own fits into the queue. Two
** places stay free for the range and the gap that everything else merges into. */
static int isQueueFullLocked(const SeawalTap *pTap){
  return pTap->iQHead-pTap->iQTail >= QUEUE_MAX-4;
}

static void publishGapLocked(SeawalTap *pTap){
  SeawalCommit c;
  memset(&c, 0, sizeof(c));
  c.eKind = SEAWAL_GAP;
  c.szPage = pTap->szPage;
  c.nPage = pTap->nPage;
  enqueueLocked(pTap, &c);
}

/* Publishes the frames (pTap->mxFrame, mxFrame] of the WAL as one commit and
** moves the place. */
static void publishWalLocked(SeawalTap *pTap, u32 mxFrame, u32 nPage, int isForeign){
  SeawalCommit c;
  memset(&c, 0, sizeof(c));
  c.szPage = pTap->szPage;
  c.nPage = nPage;
  memcpy(c.aSalt, pTap->aSalt, sizeof(c.aSalt));
  c.iFirst = pTap->mxFrame;
  c.iLast = mxFrame;
  if( isForeign || pTap->isTxnRange || pTap->nTxn!=mxFrame-pTap->mxFrame
   || isQueueFullLocked(pTap) ){
    c.eKind = SEAWAL_RANGE;
    pTap->iHead = pTap->iTxn;
  }else{
    c.eKind = SEAWAL_FRAMES;
    txnPieces(pTap, slotSize(pTap), &c);
    pTap->stats.nFrame += pTap->nTxn;
  }
  pTap->mxFrame = mxFrame;
  pTap->nPage = nPage;
  enqueueLocked(pTap, &c);
  pTap->iTxn = pTap->iHead;
  dropTxnLocked(pTap);
  if( pTap->mxAsk && mxFrame>=pTap->mxAsk ){
    pTap->mxAsk = 0;
    signalGo(pTap, SEAWAL_WAKE_CHECKPOINT);
  }
}

/* The log begins again with new salts. */
static void newGenerationLocked(SeawalTap *pTap, const u32 *aSalt, u32 mxFrame){
  rangesToGapsLocked(pTap);
  memcpy(pTap->aSalt, aSalt, sizeof(pTap->aSalt));
  pTap->isCounter = 0;
  pTap->mxFrame = mxFrame;
  pTap->mxCkpt = 0;
  if( pTap->mxAsk>pTap->nAsk ) pTap->mxAsk = pTap->nAsk;
  dropTxnLocked(pTap);
}

/* Compares the wal-index with what was published, with WAL_WRITE_LOCK held:
** whatever differs, another process did. */
static void syncPlaceLocked(SeawalTap *pTap, const IndexHdr *pHdr){
  int isOther = pTap->szPage!=0 && pHdr->szPage!=0 && pTap->szPage!=pHdr->szPage;
  if( pHdr->szPage ) pTap->szPage = pHdr->szPage;
  if( !pTap->isKnown ){
    newGenerationLocked(pTap, pHdr->aSalt, pHdr->mxFrame);
    pTap->nPage = pHdr->nPage;
    pTap->isKnown = 1;
  }else if( isSameSalt(pTap->aSalt, pHdr->aSalt) && !isOther && pHdr->mxFrame>=pTap->mxFrame ){
    if( pHdr->mxFrame>pTap->mxFrame ){
      pTap->stats.nForeign++;
      publishWalLocked(pTap, pHdr->mxFrame, pHdr->nPage, 1);
    }
  }else{
    /* From a rollback journal mode into a new WAL is none of this: that has no salts yet. */
    newGenerationLocked(pTap, pHdr->aSalt, pHdr->mxFrame);
    pTap->nPage = pHdr->nPage;
    pTap->stats.nForeign++;
    publishGapLocked(pTap);
  }
  dropTxnLocked(pTap);
}

/* The same in rollback journal modes, by the change counter. */
static void syncCounterLocked(SeawalTap *pTap, int isRead, u32 iCounter){
  if( pTap->isCounter && isRead && iCounter==pTap->iCounter ) return;
  pTap->isCounter = isRead;
  pTap->iCounter = iCounter;
  pTap->stats.nForeign++;
  publishGapLocked(pTap);
}

/************************** Capture in WAL mode ******************************/

/* A frame reached the file whole and in sequence: copy it. */
static void captureFrameLocked(SeawalTap *pTap, u32 iFrame, const u8 *aFrame){
  u8 *aSlot;
  if( pTap->isTxnRange ) return;
  if( iFrame!=pTap->mxFrame+pTap->nTxn+1 || (aSlot = ringSlotLocked(pTap, slotSize(pTap)))==0 ){
    stopCopyLocked(pTap);
    return;
  }
  memcpy(aSlot, aFrame, slotSize(pTap));
  pTap->nTxn++;
}

/* Writes out what the connection holds back and copies it into the ring. What could not be written
** stays held: SQLite was told that it is in the file, and a failure that comes out of
** a read (SQLITE_FULL) may undo a statement only, and commit those frames later. */
static int flushHold(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  int nHold = p->nHold;
  int rc;
  int i;
  if( nHold==0 ) return SQLITE_OK;
  rc = ORIGFILE(pFile)->xWrite(pFile, pTap->aHold, nHold, p->iHold);
  pthread_mutex_lock(&pTap->mutex);
  if( rc==SQLITE_OK ){
    int szSlot = (int)slotSize(pTap);
    u32 iFrame = (u32)((p->iHold-WAL_HDRSIZE)/szSlot) + 1;
    p->nHold = 0;
    p->isHoldCommit = 0;
    for(i=0; i+szSlot<=nHold; i+=szSlot, iFrame++){
      captureFrameLocked(pTap, iFrame, &pTap->aHold[i]);
    }
    if( i<nHold ) stopCopyLocked(pTap);  /* a header whose page did not follow */
  }else{
    stopCopyLocked(pTap);
  }
  pthread_mutex_unlock(&pTap->mutex);
  return rc;
}

/* The WAL file got a new header. */
static void noteWalHeader(SeawalTap *pTap, const u8 *a){
  u32 aSalt[2];
  aSalt[0] = get4(&a[16]);
  aSalt[1] = get4(&a[20]);
  pthread_mutex_lock(&pTap->mutex);
  pTap->szPage = get4(&a[8]);
  if( !isSameSalt(aSalt, pTap->aSalt) || pTap->mxFrame!=0 ) newGenerationLocked(pTap, aSalt, 0);
  pTap->isKnown = 1;
  pthread_mutex_unlock(&pTap->mutex);
}

/* The header of a frame and its page reached the file, in aHold, without WAL_WRITE_LOCK. */
static void captureUnlockedLocked(SeawalTap *pTap, int szPage, i64 iStart){
  u32 aSalt[2];
  u32 iFrame;
  if( pTap->szPage==0 ) pTap->szPage = (u32)szPage;   /* it began with a log that nobody had looked at */
  iFrame = (u32)((iStart-WAL_HDRSIZE)/slotSize(pTap)) + 1;
  if( iStart<WAL_HDRSIZE || iStart!=frameOffset(pTap, iFrame) || (u32)szPage!=pTap->szPage ){
    stopCopyLocked(pTap);
    return;
  }
  aSalt[0] = get4(&pTap->aHold[8]);
  aSalt[1] = get4(&pTap->aHold[12]);
  if( aSalt[0]==0 && aSalt[1]==0 ){
    /* Frames before it were overwritten: salts and checksums are written at the end. */
    stopCopyLocked(pTap);
  }else if( !pTap->isKnown ){
    newGenerationLocked(pTap, aSalt, iFrame-1);
    pTap->isKnown = 1;
  }else if( !isSameSalt(aSalt, pTap->aSalt) ){
    /* Another process had the log before the file was locked. */
    newGenerationLocked(pTap, aSalt, iFrame-1);
    pTap->stats.nForeign++;
    publishGapLocked(pTap);
  }
  /* Back at the start: what was written of it was rolled back. */
  if( iFrame==pTap->mxFrame+1 && (aSalt[0] || aSalt[1]) ) dropTxnLocked(pTap);
  captureFrameLocked(pTap, iFrame, pTap->aHold);
  if( iFrame>pTap->mxTxn ) pTap->mxTxn = iFrame;
}

/* A write of a connection with locking_mode=EXCLUSIVE reached the file. Its header and its page come as two. */
static void noteUnlockedWrite(SeawalTail *p, const u8 *a, int nByte, i64 iOfst){
  SeawalTap *pTap = p->pTap;
  int isPage = p->isHeader && iOfst==p->iHold+WAL_FRAME_HDRSIZE && nByte>=512;
  pthread_mutex_lock(&pTap->mutex);
  if( isPage && nByte+WAL_FRAME_HDRSIZE<=HOLD_MAX ){
    memcpy(&pTap->aHold[WAL_FRAME_HDRSIZE], a, (size_t)nByte);
    captureUnlockedLocked(pTap, nByte, p->iHold);
  }else if( p->isHeader || nByte!=WAL_FRAME_HDRSIZE ){
    stopCopyLocked(pTap);
  }
  if( isPage ) a = pTap->aHold;
  if( isPage || (nByte==WAL_FRAME_HDRSIZE && pTap->szPage) ){
    u32 nPage = get4(&a[4]);
    i64 iStart = isPage ? p->iHold : iOfst;
    if( nPage ){
      pTap->iTxnCommit = (u32)((iStart-WAL_HDRSIZE)/slotSize(pTap)) + 1;
      pTap->nTxnPage = nPage;
    }
  }
  p->isHeader = nByte==WAL_FRAME_HDRSIZE;
  if( p->isHeader ){
    p->iHold = iOfst;
    memcpy(pTap->aHold, a, WAL_FRAME_HDRSIZE);
  }
  pthread_mutex_unlock(&pTap->mutex);
  p->pMain->nUnlocked++;
}

/* A write that is not held back reached the file. */
static void noteDirectWrite(SeawalTail *p, const u8 *a, int nByte, i64 iOfst){
  SeawalTap *pTap = p->pTap;
  if( p->pMain && !p->pMain->isWriter ){
    noteUnlockedWrite(p, a, nByte, iOfst);
    return;
  }
  pthread_mutex_lock(&pTap->mutex);
  stopCopyLocked(pTap);
  if( pTap->szPage && iOfst>=WAL_HDRSIZE ){
    u32 szSlot = slotSize(pTap);
    u32 iFrame = (u32)((iOfst-WAL_HDRSIZE)/szSlot) + 1;
    if( iFrame>pTap->mxTxn ) pTap->mxTxn = iFrame;
    if( iOfst==frameOffset(pTap, iFrame) && nByte>=WAL_FRAME_HDRSIZE && get4(&a[4])!=0 ){
      pTap->iTxnCommit = iFrame;
    }
  }
  pthread_mutex_unlock(&pTap->mutex);
}

/* A commit fails although its commit frame is in the file. */
static void noCommit(SeawalTap *pTap){
  pthread_mutex_lock(&pTap->mutex);
  pTap->iTxnCommit = 0;
  pthread_mutex_unlock(&pTap->mutex);
}

/* WAL_WRITE_LOCK was taken. */
static void beginWrite(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  IndexHdr hdr;
  u32 iCounter = 0;
  int isAsked;
  int isRead = 0;
  p->isWriter = 1;
  if( p->pWal ) TAIL(p->pWal)->isHeader = 0;
  p->isUnsure = !readIndexHdr(p->aShm, &hdr);
  pthread_mutex_lock(&pTap->mutex);
  isAsked = pTap->isCounter;
  pthread_mutex_unlock(&pTap->mutex);
  if( isAsked ) isRead = readCounter(pFile, &iCounter);
  pthread_mutex_lock(&pTap->mutex);
  if( p->isUnsure ){
    dropTxnLocked(pTap);   /* the index is about to be recovered */
  }else{
    syncPlaceLocked(pTap, &hdr);
    /* The first transaction in a new WAL: whoever switched to it may have written before that. */
    if( isAsked && pTap->isCounter ) syncCounterLocked(pTap, isRead, iCounter);
  }
  pthread_mutex_unlock(&pTap->mutex);
}

/* WAL_WRITE_LOCK is about to be released: publish what was committed, drop what was not. */
static void endWrite(SeawalTail *p){
  SeawalTap *pTap = p->pTap;
  SeawalTail *pWal = p->pWal ? TAIL(p->pWal) : 0;
  IndexHdr hdr;
  int isLate = 0;
  if( !readIndexHdr(p->aShm, &hdr) ){
    if( pWal ) pWal->nHold = 0;
    pthread_mutex_lock(&pTap->mutex);
    dropTxnLocked(pTap);
    pthread_mutex_unlock(&pTap->mutex);
    return;
  }
  if( pWal && pWal->nHold>0 ){
    /* Held bytes end with the commit frame, so here they can only be of a rollback. */
    if( !p->isUnsure && isSameSalt(hdr.aSalt, pTap->aSalt) && hdr.mxFrame>pTap->mxFrame ){
      isLate = 1;
      (void)flushHold(p->pWal);
    }
    pWal->nHold = 0;
  }
  pthread_mutex_lock(&pTap->mutex);
  pTap->stats.nLate += isLate;
  if( p->isUnsure ){
    syncPlaceLocked(pTap, &hdr);
  }else{
    if( !isSameSalt(hdr.aSalt, pTap->aSalt) ) newGenerationLocked(pTap, hdr.aSalt, 0);
    if( hdr.szPage ) pTap->szPage = hdr.szPage;
    if( hdr.mxFrame>pTap->mxFrame ){
      publishWalLocked(pTap, hdr.mxFrame, hdr.nPage, 0);
      p->iTicket = pTap->iTicket;
    }else{
      dropTxnLocked(pTap);
    }
  }
  pthread_mutex_unlock(&pTap->mutex);
}

/* COMMIT_PHASETWO of a connection that wrote its WAL without WAL_WRITE_LOCK:
** locking_mode=EXCLUSIVE. */
static void commitUnlocked(SeawalTail *p){
  SeawalTap *pTap = p->pTap;
  u32 nAsk;
  p->nUnlocked = 0;
  pthread_mutex_lock(&pTap->mutex);
  if( TAIL(p->pWal)->isHeader ) stopCopyLocked(pTap);   /* the last write was a checksum */
  TAIL(p->pWal)->isHeader = 0;
  if( pTap->iTxnCommit>pTap->mxFrame ){
    publishWalLocked(pTap, pTap->iTxnCommit, pTap->nTxnPage, 0);
    p->iTicket = pTap->iTicket;
  }else{
    dropTxnLocked(pTap);
  }
  nAsk = pTap->nAsk;
  pthread_mutex_unlock(&pTap->mutex);
  if( nAsk && p->isAutoOff && !p->isAutoLent && p->db ){
    p->isAutoLent = 1;
    sqlite3_wal_autocheckpoint(p->db, (int)nAsk);
  }
}

/*********************** Capture in rollback journal modes *******************/

/* The first page of a transaction is about to be written to the main file by a connection that
** has no WAL open: look for what another process did. */
static void beginJournal(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  u32 iCounter = 0;
  int isRead = readCounter(pFile, &iCounter);
  p->isJournal = 1;
  pthread_mutex_lock(&pTap->mutex);
  dropTxnLocked(pTap);
  if( !p->isLeaving && (pTap->isKnown || pTap->isCounter) ) syncCounterLocked(pTap, isRead, iCounter);
  pthread_mutex_unlock(&pTap->mutex);
}

/* A page was written to the main file by a connection that has no WAL open. */
static void capturePage(SeawalTail *p, const u8 *a, int nByte, i64 iOfst){
  SeawalTap *pTap = p->pTap;
  u8 *aSlot;
  pthread_mutex_lock(&pTap->mutex);
  if( pTap->nTxn==0 && !pTap->isTxnRange && (u32)nByte!=pTap->szPage ){
    pTap->szPage = (u32)nByte;
  }
  if( !pTap->isTxnRange ){
    if( (u32)nByte!=pTap->szPage || iOfst%nByte!=0
     || (aSlot = ringSlotLocked(pTap, slotSize(pTap)))==0 ){
      stopCopyLocked(pTap);
    }else{
      memset(aSlot, 0, WAL_FRAME_HDRSIZE);
      put4(aSlot, (u32)(iOfst/nByte)+1);
      memcpy(&aSlot[WAL_FRAME_HDRSIZE], a, (size_t)nByte);
      pTap->nTxn++;
    }
  }
  pthread_mutex_unlock(&pTap->mutex);
}

/* COMMIT_PHASETWO in a rollback journal mode. nByte is the size of the file. */
static void commitJournal(sqlite3_file *pFile, i64 nByte){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  SeawalCommit c;
  static const u32 aZero[2] = {0, 0};
  u32 iCounter = 0;
  int isCounter = readCounter(pFile, &iCounter);
  p->isJournal = 0;
  p->isLeaving = 0;
  memset(&c, 0, sizeof(c));
  pthread_mutex_lock(&pTap->mutex);
  c.szPage = pTap->szPage;
  c.nPage = pTap->szPage ? (u32)(nByte/pTap->szPage) : 0;
  if( pTap->isTxnRange || nByte<0 || isQueueFullLocked(pTap) ){
    c.eKind = SEAWAL_GAP;
    pTap->iHead = pTap->iTxn;
  }else{
    c.eKind = SEAWAL_FRAMES;
    txnPieces(pTap, slotSize(pTap), &c);
    pTap->stats.nFrame += pTap->nTxn;
  }
  rangesToGapsLocked(pTap);
  memcpy(pTap->aSalt, aZero, sizeof(aZero));
  pTap->mxFrame = 0;
  pTap->nPage = c.nPage;
  pTap->isKnown = 1;
  pTap->isCounter = isCounter;
  pTap->iCounter = iCounter;
  enqueueLocked(pTap, &c);
  p->iTicket = pTap->iTicket;
  pTap->iTxn = pTap->iHead;
  dropTxnLocked(pTap);
  pthread_mutex_unlock(&pTap->mutex);
}

/* durability=remote: waits for the last commit of this connection. Called where
** nothing that the shipper needs is locked. */
static void waitRemote(SeawalTail *p){
  if( p->isRemote && p->iTicket>p->iWaited ){
    p->iWaited = p->iTicket;
    seawalGoWait(p->pTap->iHandle, p->iTicket, p->db);
  }
}

/******************************* WAL files ***********************************/

static int walClose(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  p->nHold = 0;
  if( p->pMain && p->pMain->pWal==pFile ){
    p->pMain->pWal = 0;
    p->pMain->isLeaving = 1;
  }
  return ORIGFILE(pFile)->xClose(pFile);
}

static int walRead(sqlite3_file *pFile, void *pBuf, int nByte, i64 iOfst){
  int rc = flushHold(pFile);
  return rc ? rc : ORIGFILE(pFile)->xRead(pFile, pBuf, nByte, iOfst);
}

static int walWrite(sqlite3_file *pFile, const void *pBuf, int nByte, i64 iOfst){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  const u8 *a = (const u8*)pBuf;
  int szSlot = (int)slotSize(pTap);
  int rc = SQLITE_OK;
  if( p->pMain->isWriter && pTap->szPage && iOfst>=WAL_HDRSIZE ){
    u32 iFrame = (u32)((iOfst-WAL_HDRSIZE)/szSlot) + 1;
    i64 iStart = frameOffset(pTap, iFrame);
    int isNext = p->nHold>0 && iOfst==p->iHold+p->nHold;
    if( nByte==WAL_FRAME_HDRSIZE && iOfst==iStart && iFrame>pTap->mxTxn ){
      /* A header at the append point. A header anywhere else is a rewrite, that no page follows. */
      if( !isNext || p->nHold+szSlot>HOLD_MAX ){
        rc = flushHold(pFile);
        if( rc ) return rc;
        p->iHold = iOfst;
      }
      memcpy(&pTap->aHold[p->nHold], a, WAL_FRAME_HDRSIZE);
      p->nHold += WAL_FRAME_HDRSIZE;
      p->isHoldCommit = get4(&a[4])!=0;
      pthread_mutex_lock(&pTap->mutex);
      pTap->mxTxn = iFrame;
      pthread_mutex_unlock(&pTap->mutex);
      return SQLITE_OK;
    }
    if( (u32)nByte==pTap->szPage && isNext && iOfst==iStart+WAL_FRAME_HDRSIZE ){
      memcpy(&pTap->aHold[p->nHold], a, (size_t)nByte);
      p->nHold += nByte;
      return p->isHoldCommit ? flushHold(pFile) : SQLITE_OK;
    }
  }
  rc = flushHold(pFile);
  if( rc==SQLITE_OK ) rc = ORIGFILE(pFile)->xWrite(pFile, pBuf, nByte, iOfst);
  if( rc==SQLITE_OK ){
    if( iOfst==0 && nByte==WAL_HDRSIZE ){
      noteWalHeader(pTap, a);
    }else{
      noteDirectWrite(p, a, nByte, iOfst);
    }
  }else{
    noCommit(pTap);
  }
  return rc;
}

static int walTruncate(sqlite3_file *pFile, i64 nByte){
  int rc = flushHold(pFile);
  return rc ? rc : ORIGFILE(pFile)->xTruncate(pFile, nByte);
}

static int walSync(sqlite3_file *pFile, int flags){
  SeawalTap *pTap = TAIL(pFile)->pTap;
  int rc = flushHold(pFile);
  if( rc==SQLITE_OK ) rc = ORIGFILE(pFile)->xSync(pFile, flags);
  if( rc!=SQLITE_OK ) noCommit(pTap);   /* with synchronous=FULL */
  return rc;
}

static int walFileSize(sqlite3_file *pFile, i64 *pnByte){
  int rc = flushHold(pFile);
  return rc ? rc : ORIGFILE(pFile)->xFileSize(pFile, pnByte);
}

static int walFileControl(sqlite3_file *pFile, int op, void *pArg){
  int rc = flushHold(pFile);
  return rc ? rc : ORIGFILE(pFile)->xFileControl(pFile, op, pArg);
}

/******************************* Main files **********************************/

/* An absolute time for pthread_cond_timedwait(). */
static struct timespec inMilliseconds(int ms){
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  t.tv_nsec += (long)ms*1000000;
  t.tv_sec += t.tv_nsec/1000000000;
  t.tv_nsec %= 1000000000;
  return t;
}

/* The lock that one of our own connections has on the file. */
static void noteLocked(SeawalTail *p, int eLock){
  SeawalTap *pTap = p->pTap;
  if( p->eRole==SEAWAL_APP || p->eLocked==eLock ) return;
  pthread_mutex_lock(&pTap->mutex);
  pTap->nLocked += (eLock>SQLITE_LOCK_NONE) - (p->eLocked>SQLITE_LOCK_NONE);
  pTap->nStrong += (eLock>SQLITE_LOCK_SHARED) - (p->eLocked>SQLITE_LOCK_SHARED);
  p->eLocked = eLock;
  if( pTap->nGiveWay ) pthread_cond_broadcast(&pTap->cond);
  pthread_mutex_unlock(&pTap->mutex);
}

static int mainClose(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  int rc;
  if( pTap->pReader==pFile ) pTap->pReader = 0;
  rc = ORIGFILE(pFile)->xClose(pFile);
  noteLocked(p, SQLITE_LOCK_NONE);
  pthread_mutex_lock(&pTap->mutex);
  if( --pTap->nOpen==0 && pTap->isAlone ) signalGo(pTap, SEAWAL_WAKE_CLOSED);
  pthread_mutex_unlock(&pTap->mutex);
  return rc;
}

static int mainWrite(sqlite3_file *pFile, const void *pBuf, int nByte, i64 iOfst){
  SeawalTail *p = TAIL(pFile);
  int rc;
  if( p->pWal==0 && !p->isJournal ) beginJournal(pFile);
  rc = ORIGFILE(pFile)->xWrite(pFile, pBuf, nByte, iOfst);
  if( p->pWal==0 && rc==SQLITE_OK ) capturePage(p, (const u8*)pBuf, nByte, iOfst);
  return rc;
}

/* Says whether our own connections are in the way of a lock that the application wants. */
static int isInTheWayLocked(const SeawalTap *pTap, int eLock){
  return eLock==SQLITE_LOCK_EXCLUSIVE ? pTap->nLocked>0 : pTap->nStrong>0;
}

/* The application met our own connections, perhaps, on its way to a lock. Waits until they
** are gone, for at most GIVE_WAY_MS, and tries again. */
static int lockWithoutUs(sqlite3_file *pFile, int eLock){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  int nWait = GIVE_WAY_MS/20;
  int rc;
  pthread_mutex_lock(&pTap->mutex);
  pTap->nGiveWay++;
  if( eLock==SQLITE_LOCK_EXCLUSIVE && pTap->nLocked ) signalGo(pTap, SEAWAL_WAKE_GIVE_WAY);
  while( isInTheWayLocked(pTap, eLock) && nWait-->0 ){
    struct timespec t = inMilliseconds(20);
    if( p->db && sqlite3_is_interrupted(p->db) ) break;
    pthread_cond_timedwait(&pTap->cond, &pTap->mutex, &t);
  }
  pthread_mutex_unlock(&pTap->mutex);
  rc = ORIGFILE(pFile)->xLock(pFile, eLock);
  pthread_mutex_lock(&pTap->mutex);
  pTap->nGiveWay--;
  pthread_mutex_unlock(&pTap->mutex);
  return rc;
}

/* xLock of our own connections: they wait for nobody. */
static int lockOurs(sqlite3_file *pFile, int eLock){
  SeawalTail *p = TAIL(pFile);
  int isWanted;
  int rc;
  pthread_mutex_lock(&p->pTap->mutex);
  isWanted = p->pTap->nGiveWay>0;
  pthread_mutex_unlock(&p->pTap->mutex);
  if( isWanted ) return SQLITE_BUSY;
  /* Noted before: what another connection meets must be known. A lock beyond SHARED that is refused may leave
  ** a PENDING one behind, until xUnlock. */
  if( eLock>p->eLocked ) noteLocked(p, eLock);
  rc = ORIGFILE(pFile)->xLock(pFile, eLock);
  if( rc!=SQLITE_OK && eLock==SQLITE_LOCK_SHARED ) noteLocked(p, SQLITE_LOCK_NONE);
  return rc;
}

static int mainLock(sqlite3_file *pFile, int eLock){
  SeawalTail *p = TAIL(pFile);
  int rc;
  if( p->eRole!=SEAWAL_APP ) return lockOurs(pFile, eLock);
  rc = ORIGFILE(pFile)->xLock(pFile, eLock);
  /* A connection that is being closed, to see whether it is the last one, has no statement left. */
  if( rc==SQLITE_BUSY && (eLock!=SQLITE_LOCK_EXCLUSIVE || p->db==0 || sqlite3_next_stmt(p->db, 0)!=0) ){
    rc = lockWithoutUs(pFile, eLock);
  }
  return rc;
}

/* Says whether another statement than the one that commits is running on the connection. */
static int isOtherRunning(const SeawalTail *p){
  sqlite3_stmt *pStmt = 0;
  int n = 0;
  if( p->db==0 ) return 0;
  while( (pStmt = sqlite3_next_stmt(p->db, pStmt))!=0 ) n += sqlite3_stmt_busy(pStmt)!=0;
  return n>1;
}

/* The wal hook of a connection whose replicated databases seawal checkpoints: the others, attached to it, are
** checkpointed as SQLite does by default. */
static int attachedHook(void *pUnused, sqlite3 *db, const char *zDb, int nFrame){
  int isTapped = 0;
  (void)pUnused;
  if( nFrame<CKPT_RETRY ) return SQLITE_OK;
  if( sqlite3_file_control(db, zDb, FCNTL_IS_TAPPED, &isTapped)!=SQLITE_OK || !isTapped ){
    (void)sqlite3_wal_checkpoint(db, zDb);   /* as there: no commit fails of it */
  }
  return SQLITE_OK;
}

static int mainUnlock(sqlite3_file *pFile, int eLock){
  SeawalTail *p = TAIL(pFile);
  int rc;
  if( p->isJournal ){
    /* No COMMIT_PHASETWO came: the old images were written back. */
    p->isJournal = 0;
    pthread_mutex_lock(&p->pTap->mutex);
    dropTxnLocked(p->pTap);
    pthread_mutex_unlock(&p->pTap->mutex);
  }
  p->isLeaving = 0;
  rc = ORIGFILE(pFile)->xUnlock(pFile, eLock);
  if( eLock<p->eLocked ) noteLocked(p, eLock);
  if( p->isAutoLent ){
    p->isAutoLent = 0;
    if( p->isHooked ) sqlite3_wal_hook(p->db, attachedHook, 0);
    else sqlite3_wal_autocheckpoint(p->db, 0);
  }
  /* The lock is let go in two steps. A commit that waited with SHARED held would keep every other writer from
  ** its own; but with another statement running there is no second step. */
  if( p->pWal==0 && p->isRemote && (eLock<SQLITE_LOCK_SHARED || isOtherRunning(p)) ) waitRemote(p);
  return rc;
}

/* PRAGMA seawal_...; SQLITE_NOTFOUND for every other. azArg is SQLite's: 0 the answer, 1 the name, 2 the value. */
static int mainPragma(SeawalTail *p, char **azArg){
  char *zOut = 0;
  int isError = 0;
  int eRemote = -1;
  if( sqlite3_stricmp(azArg[1], "locking_mode")==0 && azArg[2] ){
    p->isExclusive = sqlite3_stricmp(azArg[2], "exclusive")==0;
  }
  if( strncmp(azArg[1], "seawal_", 7)!=0 ) return SQLITE_NOTFOUND;
  if( strcmp(azArg[1], "seawal_checkpoint_attached")==0 && p->db ){
    sqlite3_wal_hook(p->db, attachedHook, 0);
    p->isHooked = 1;
    return SQLITE_OK;
  }
  if( !seawalGoPragma(p->pTap->iHandle, azArg[1], azArg[2], p->isRemote, &zOut, &isError, &eRemote) ){
    return SQLITE_NOTFOUND;
  }
  if( eRemote>=0 ) p->isRemote = eRemote;
  if( zOut ){
    azArg[0] = sqlite3_mprintf("%s", zOut);
    free(zOut);
  }
  return isError ? SQLITE_ERROR : SQLITE_OK;
}

static int mainFileControl(sqlite3_file *pFile, int op, void *pArg){
  SeawalTail *p = TAIL(pFile);
  int isAsked = op==SQLITE_FCNTL_PERSIST_WAL && pArg && *(int*)pArg<0;
  int rc;
  if( op==SQLITE_FCNTL_PRAGMA ){
    /* Every connection of go-sqlite3 begins with it, and it reads the schema: our reader, which never writes, could not
    ** be opened while the application has the file to itself. */
    if( p->eRole==SEAWAL_READER && sqlite3_stricmp(((char**)pArg)[1], "synchronous")==0 ) return SQLITE_OK;
    if( ((char**)pArg)[2] && sqlite3_stricmp(((char**)pArg)[1], "wal_autocheckpoint")==0 ){
      p->isAutoOff = atoi(((char**)pArg)[2])<=0;
      p->isAutoLent = p->isHooked = 0;
    }
    rc = mainPragma(p, (char**)pArg);
    if( rc!=SQLITE_NOTFOUND ) return rc;
  }
  if( op==FCNTL_IS_TAPPED ){ *(int*)pArg = 1; return SQLITE_OK; }
  /* Connections with a shared cache share the file: the first one's handle may be gone by the time it is used. */
  if( op==SQLITE_FCNTL_PDB && pArg && !p->isShared ) p->db = *(sqlite3**)pArg;
  rc = ORIGFILE(pFile)->xFileControl(pFile, op, pArg);
  if( op==SQLITE_FCNTL_COMMIT_PHASETWO ){
    if( p->pWal ){
      if( p->nUnlocked ) commitUnlocked(p);
      waitRemote(p);
    }else if( p->isJournal ){
      i64 nByte = -1;
      if( ORIGFILE(pFile)->xFileSize(pFile, &nByte)!=SQLITE_OK ) nByte = -1;
      commitJournal(pFile, nByte);
      if( p->isExclusive ) waitRemote(p);   /* no unlock will come */
    }
  }else if( isAsked && p->eRole!=SEAWAL_APP ){
    /* One of our connections is the last to close. Never for the application: SQLite asks in
    ** PRAGMA journal_mode=DELETE too, and with a log that stays the database would stay in WAL mode. */
    pthread_mutex_lock(&p->pTap->mutex);
    if( p->pTap->isPersist || p->pTap->nRange>0 ) *(int*)pArg = 1;
    pthread_mutex_unlock(&p->pTap->mutex);
  }
  return rc;
}

static int mainShmMap(sqlite3_file *pFile, int iRegion, int szRegion, int bExtend, void volatile **pp){
  int rc = ORIGFILE(pFile)->xShmMap(pFile, iRegion, szRegion, bExtend, pp);
  if( iRegion==0 && rc==SQLITE_OK && pp ) TAIL(pFile)->aShm = (const volatile u8*)*pp;
  return rc;
}

/* The last connection is about to delete the WAL: it has the database file to itself, and
** has brought all of the log into it. The log that comes next is no other process's doing. */
static void noteWalDelete(sqlite3_file *pFile){
  SeawalTap *pTap = TAIL(pFile)->pTap;
  static const u32 aZero[2] = {0, 0};
  IndexHdr hdr;
  u32 iCounter = 0;
  int isRead;
  if( !readIndexHdr(TAIL(pFile)->aShm, &hdr) ) return;
  isRead = readCounter(pFile, &iCounter);
  pthread_mutex_lock(&pTap->mutex);
  if( pTap->isKnown ){
    syncPlaceLocked(pTap, &hdr);
    newGenerationLocked(pTap, aZero, 0);
    pTap->isCounter = isRead;
    pTap->iCounter = iCounter;
  }
  pthread_mutex_unlock(&pTap->mutex);
}

static int mainShmUnmap(sqlite3_file *pFile, int deleteFlag){
  if( deleteFlag ) noteWalDelete(pFile);
  TAIL(pFile)->aShm = 0;
  return ORIGFILE(pFile)->xShmUnmap(pFile, deleteFlag);
}

/* Takes WAL_WRITE_LOCK for a connection of the application. It waits while our checkpointer
** has the lock or is next for it (a few fsyncs at most, where the application's own
** checkpoint would have cost it as much), so that nobody sees an SQLITE_BUSY that is
** our doing; and, with isBlock, while the log is full. */
static int lockForApp(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  int rc;
  pthread_mutex_lock(&pTap->mutex);
  while( pTap->isOurs || pTap->nWant || isLogFullLocked(pTap) ){
    struct timespec t = inMilliseconds(20);
    if( p->db && sqlite3_is_interrupted(p->db) ) break;
    pthread_cond_timedwait(&pTap->cond, &pTap->mutex, &t);
  }
  pthread_mutex_unlock(&pTap->mutex);
  rc = ORIGFILE(pFile)->xShmLock(pFile, WAL_WRITE_LOCK, 1, SQLITE_SHM_LOCK|SQLITE_SHM_EXCLUSIVE);
  return rc;
}

/* Takes WAL_WRITE_LOCK for our checkpointer: waits until the application's
** transaction is over, for at most 100 ms. */
static int lockForUs(sqlite3_file *pFile){
  SeawalTap *pTap = TAIL(pFile)->pTap;
  struct timespec t = inMilliseconds(100);
  int rc;
  pthread_mutex_lock(&pTap->mutex);
  pTap->nWant++;
  for(;;){
    int rcWait;
    /* Not held across the call below: xShmLock makes a system call at most,
    ** and a release that comes in between is seen by the next attempt. */
    pthread_mutex_unlock(&pTap->mutex);
    rc = ORIGFILE(pFile)->xShmLock(pFile, WAL_WRITE_LOCK, 1, SQLITE_SHM_LOCK|SQLITE_SHM_EXCLUSIVE);
    pthread_mutex_lock(&pTap->mutex);
    if( rc!=SQLITE_BUSY ) break;
    rcWait = pthread_cond_timedwait(&pTap->cond, &pTap->mutex, &t);
    if( rcWait==ETIMEDOUT ) break;
  }
  pTap->nWant--;
  if( rc==SQLITE_OK ) pTap->isOurs = 1;
  pthread_cond_broadcast(&pTap->cond);
  pthread_mutex_unlock(&pTap->mutex);
  return rc;
}

/* A connection that writes again and again begins its next transaction while our checkpointer brings
** the whole log into the file. Waits for the end of that, and returns 1: what is read has to be decided anew.
**
** SQLite starts the log again in a write transaction that began when all of the log was in the file. One that has
** its read lock, and then waits for WAL_WRITE_LOCK, began too early: it appends, the log isn't all in the
** file any more, and so on for ever. Under constant writing the log would only grow. */
static int waitForFinish(SeawalTail *p){
  SeawalTap *pTap = p->pTap;
  int isWaited = 0;
  pthread_mutex_lock(&pTap->mutex);
  while( pTap->isOurs || pTap->nWant ){
    struct timespec t = inMilliseconds(20);
    if( p->db && sqlite3_is_interrupted(p->db) ) break;
    isWaited = 1;
    pthread_cond_timedwait(&pTap->cond, &pTap->mutex, &t);
  }
  pthread_mutex_unlock(&pTap->mutex);
  return isWaited;
}

static int mainWriteLock(sqlite3_file *pFile, int flags){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  int rc;
  if( flags & SQLITE_SHM_LOCK ){
    rc = p->eRole==SEAWAL_APP ? lockForApp(pFile) : lockForUs(pFile);
    if( rc==SQLITE_OK ){
      p->mWrote |= 1;
      beginWrite(pFile);
    }
    return rc;
  }
  if( p->isWriter ) endWrite(p);
  p->isWriter = 0;
  rc = ORIGFILE(pFile)->xShmLock(pFile, WAL_WRITE_LOCK, 1, flags);
  pthread_mutex_lock(&pTap->mutex);
  if( p->eRole!=SEAWAL_APP ) pTap->isOurs = 0;
  if( p->eRole!=SEAWAL_APP || pTap->nWant ) pthread_cond_broadcast(&pTap->cond);
  pthread_mutex_unlock(&pTap->mutex);
  return rc;
}

static int mainShmLock(sqlite3_file *pFile, int iSlot, int n, int flags){
  SeawalTail *p = TAIL(pFile);
  SeawalTap *pTap = p->pTap;
  int rc;
  if( iSlot==WAL_WRITE_LOCK && n==1 && (flags & SQLITE_SHM_EXCLUSIVE) ){
    return mainWriteLock(pFile, flags);
  }
  if( (flags & SQLITE_SHM_EXCLUSIVE) && (flags & SQLITE_SHM_LOCK) ){
    int isBusy = 0;
    if( iSlot==WAL_READ_LOCK0+1 && n==WAL_NREADER-1 ){
      pthread_mutex_lock(&pTap->mutex);
      isBusy = isHeldBackLocked(pTap);
      pTap->stats.nHeld += isBusy;
      pthread_mutex_unlock(&pTap->mutex);
    }else if( iSlot==WAL_CKPT_LOCK && n==1 && p->eRole==SEAWAL_APP ){
      pthread_mutex_lock(&pTap->mutex);
      isBusy = !pTap->isAttaching && isHeldBackLocked(pTap)
            && pTap->mxFrame-pTap->mxCkpt < CKPT_RETRY;
      if( !isBusy ) pTap->mxCkpt = pTap->mxFrame;
      pthread_mutex_unlock(&pTap->mutex);
    }
    if( isBusy ) return SQLITE_BUSY;
  }
  if( (p->mWrote & 2) && iSlot>WAL_READ_LOCK0 && flags==(SQLITE_SHM_LOCK|SQLITE_SHM_SHARED)
   && p->eRole==SEAWAL_APP && waitForFinish(p) ){
    return SQLITE_BUSY;   /* SQLite looks at the wal-index again, and asks for the lock that fits */
  }
  rc = ORIGFILE(pFile)->xShmLock(pFile, iSlot, n, flags);
  if( (flags & SQLITE_SHM_SHARED) && iSlot>=WAL_READ_LOCK0 ){
    if( (flags & SQLITE_SHM_LOCK) && rc==SQLITE_OK ) p->iReadLock = iSlot-WAL_READ_LOCK0;
    if( flags & SQLITE_SHM_UNLOCK ){
      p->iReadLock = -1;
      p->mWrote = (p->mWrote & 1)<<1;
    }
  }
  return rc;
}

/******************************* Method tables *******************************/

/* The copy of a real table for files of one kind, made when it is first
** needed. 0 when memory is out. */
static const SeawalMethods *methodsFor(const sqlite3_io_methods *pReal, int szLower, int isWal){
  SeawalMethods *p;
  pthread_mutex_lock(&shimMutex);
  for(p=shimMethods; p; p=p->pNext){
    if( p->pReal==pReal && p->szLower==szLower && p->isWal==isWal ) break;
  }
  if( p==0 && (p = calloc(1, sizeof(*p)))!=0 ){
    /* A table of an older version is shorter than the struct. */
    size_t n = pReal->iVersion>=3 ? sizeof(p->base)
             : pReal->iVersion==2 ? offsetof(sqlite3_io_methods, xFetch)
             : offsetof(sqlite3_io_methods, xShmMap);
    memcpy(&p->base, pReal, n);
    p->base.iVersion = min(pReal->iVersion, 3);
    p->pReal = pReal;
    p->szLower = szLower;
    p->isWal = isWal;
    p->base.xClose       = isWal ? walClose       : mainClose;
    p->base.xWrite       = isWal ? walWrite       : mainWrite;
    p->base.xFileControl = isWal ? walFileControl : mainFileControl;
    if( isWal ){
      p->base.xRead      = walRead;
      p->base.xTruncate  = walTruncate;
      p->base.xSync      = walSync;
      p->base.xFileSize  = walFileSize;
    }else{
      p->base.xLock      = mainLock;
      p->base.xUnlock    = mainUnlock;
      if( pReal->iVersion>=2 ){
        p->base.xShmMap    = mainShmMap;
        p->base.xShmLock   = mainShmLock;
        p->base.xShmUnmap  = mainShmUnmap;
      }
    }
    p->pNext = shimMethods;
    shimMethods = p;
  }
  pthread_mutex_unlock(&shimMutex);
  return p;
}

/********************************** xOpen ************************************/

/* Finds the tap of a main file and counts the file in. */
static SeawalTap *tapFor(const char *zName){
  SeawalTap *pTap;
  pthread_mutex_lock(&shimMutex);
  for(pTap=shimTaps; pTap && strcmp(pTap->zPath, zName)!=0; pTap=pTap->pNext){}
  if( pTap ){
    pthread_mutex_lock(&pTap->mutex);
    pTap->nOpen++;
    pthread_mutex_unlock(&pTap->mutex);
  }
  pthread_mutex_unlock(&shimMutex);
  return pTap;
}

static int shimOpen(sqlite3_vfs *pVfs, const char *zName, sqlite3_file *pFile, int flags, int *pOutFlags){
  sqlite3_vfs *pLower = ORIGVFS(pVfs);
  int szLower = pVfs->szOsFile - (int)sizeof(SeawalTail);
  SeawalTail *p = (SeawalTail*)&((u8*)pFile)[szLower];
  SeawalTail *pMain = 0;
  SeawalTap *pTap = 0;
  const SeawalMethods *pMethods;
  int rc;

  memset(p, 0, sizeof(*p));
  if( zName && (flags & SQLITE_OPEN_MAIN_DB) ){
    pTap = tapFor(zName);
  }else if( zName && (flags & SQLITE_OPEN_WAL) ){
    sqlite3_file *pDb = sqlite3_database_file_object(zName);
    if( pDb ) pMain = (SeawalTail*)&((u8*)pDb)[szLower];
    if( pMain && pMain->iMagic==TAIL_MAGIC ) pTap = pMain->pTap;
  }
  rc = pLower->xOpen(pLower, zName, pFile, flags, pOutFlags);
  if( pTap==0 ) return rc;
  if( rc!=SQLITE_OK ) goto open_failed;
  pMethods = methodsFor(pFile->pMethods, szLower, pMain!=0);
  if( pMethods==0 ){
    pFile->pMethods->xClose(pFile);
    rc = SQLITE_NOMEM;
    goto open_failed;
  }
  p->iMagic = TAIL_MAGIC;
  p->pTap = pTap;
  p->iReadLock = -1;
  if( pMain ){
    p->pMain = pMain;
    pMain->pWal = pFile;
  }else{
    const char *zRole = sqlite3_uri_parameter(zName, "seawal_role");
    const char *zCache = sqlite3_uri_parameter(zName, "cache");
    if( zRole && strcmp(zRole, "reader")==0 ){ p->eRole = SEAWAL_READER; pTap->pReader = pFile; }
    if( zRole && strcmp(zRole, "checkpoint")==0 ) p->eRole = SEAWAL_CHECKPOINT;
    p->isShared = zCache && strcmp(zCache, "shared")==0;
  }
  pFile->pMethods = &pMethods->base;
  return SQLITE_OK;

open_failed:
  pFile->pMethods = 0;   /* SQLite must not call xClose */
  if( pMain==0 ){
    pthread_mutex_lock(&pTap->mutex);
    pTap->nOpen--;
    pthread_mutex_unlock(&pTap->mutex);
  }
  return rc;
}

/*************************** VFS pass-throughs *******************************/

static int shimDelete(sqlite3_vfs *pVfs, const char *zName, int syncDir){
  return ORIGVFS(pVfs)->xDelete(ORIGVFS(pVfs), zName, syncDir);
}
static int shimAccess(sqlite3_vfs *pVfs, const char *zName, int flags, int *pRes){
  return ORIGVFS(pVfs)->xAccess(ORIGVFS(pVfs), zName, flags, pRes);
}
static int shimFullPathname(sqlite3_vfs *pVfs, const char *zName, int nOut, char *zOut){
  return ORIGVFS(pVfs)->xFullPathname(ORIGVFS(pVfs), zName, nOut, zOut);
}
static void *shimDlOpen(sqlite3_vfs *pVfs, const char *zName){
  return ORIGVFS(pVfs)->xDlOpen(ORIGVFS(pVfs), zName);
}
static void shimDlError(sqlite3_vfs *pVfs, int nByte, char *zErr){
  ORIGVFS(pVfs)->xDlError(ORIGVFS(pVfs), nByte, zErr);
}
static void (*shimDlSym(sqlite3_vfs *pVfs, void *p, const char *zSym))(void){
  return ORIGVFS(pVfs)->xDlSym(ORIGVFS(pVfs), p, zSym);
}
static void shimDlClose(sqlite3_vfs *pVfs, void *p){
  ORIGVFS(pVfs)->xDlClose(ORIGVFS(pVfs), p);
}
static int shimRandomness(sqlite3_vfs *pVfs, int nByte, char *zOut){
  return ORIGVFS(pVfs)->xRandomness(ORIGVFS(pVfs), nByte, zOut);
}
static int shimSleep(sqlite3_vfs *pVfs, int us){
  return ORIGVFS(pVfs)->xSleep(ORIGVFS(pVfs), us);
}
static int shimCurrentTime(sqlite3_vfs *pVfs, double *pTime){
  return ORIGVFS(pVfs)->xCurrentTime(ORIGVFS(pVfs), pTime);
}
static int shimGetLastError(sqlite3_vfs *pVfs, int n, char *z){
  return ORIGVFS(pVfs)->xGetLastError(ORIGVFS(pVfs), n, z);
}
static int shimCurrentTimeInt64(sqlite3_vfs *pVfs, i64 *pTime){
  return ORIGVFS(pVfs)->xCurrentTimeInt64(ORIGVFS(pVfs), pTime);
}
static int shimSetSystemCall(sqlite3_vfs *pVfs, const char *zName, sqlite3_syscall_ptr x){
  return ORIGVFS(pVfs)->xSetSystemCall(ORIGVFS(pVfs), zName, x);
}
static sqlite3_syscall_ptr shimGetSystemCall(sqlite3_vfs *pVfs, const char *zName){
  return ORIGVFS(pVfs)->xGetSystemCall(ORIGVFS(pVfs), zName);
}
static const char *shimNextSystemCall(sqlite3_vfs *pVfs, const char *zName){
  return ORIGVFS(pVfs)->xNextSystemCall(ORIGVFS(pVfs), zName);
}

/****************************** The consumer *********************************/

int seawal_tap_next(SeawalTap *pTap, SeawalCommit *aOut, int n){
  int i;
  pthread_mutex_lock(&pTap->mutex);
  /* Half of the queue at most is out of reach of merging. */
  for(i=0; i<n && pTap->iQNext<pTap->iQHead && pTap->iQNext-pTap->iQTail<QUEUE_MAX/2; i++){
    SeawalCommit *p = &pTap->aQueue[pTap->iQNext++ % QUEUE_MAX];
    aOut[i] = *p;
  }
  pthread_mutex_unlock(&pTap->mutex);
  return i;
}

void seawal_tap_release(SeawalTap *pTap, u64 iTicket){
  pthread_mutex_lock(&pTap->mutex);
  while( pTap->iQTail<pTap->iQNext ){
    SeawalCommit *p = &pTap->aQueue[pTap->iQTail % QUEUE_MAX];
    if( p->iTicket>iTicket ) break;
    if( p->eKind==SEAWAL_RANGE ) pTap->nRange--;
    pTap->iTail = p->iEnd;
    pTap->iQTail++;
  }
  if( pTap->iHead-pTap->iTail <= pTap->szRing/4 ) pTap->isFull = 0;
  if( pTap->isBlock ) pthread_cond_broadcast(&pTap->cond);
  pthread_mutex_unlock(&pTap->mutex);
}

int seawal_tap_idle(SeawalTap *pTap){
  int isIdle;
  pthread_mutex_lock(&pTap->mutex);
  isIdle = pTap->isIdle = pTap->iQNext==pTap->iQHead;
  pthread_mutex_unlock(&pTap->mutex);
  return isIdle;
}

void seawal_tap_ask(SeawalTap *pTap, u32 nFrame){
  pthread_mutex_lock(&pTap->mutex);
  pTap->nAsk = nFrame;
  pTap->mxAsk = nFrame ? pTap->mxFrame+nFrame : 0;
  pthread_mutex_unlock(&pTap->mutex);
}

void seawal_tap_last(SeawalTap *pTap, u64 *piTicket, int64_t *piTime){
  pthread_mutex_lock(&pTap->mutex);
  *piTicket = pTap->iTicket;
  *piTime = pTap->iTime;
  pthread_mutex_unlock(&pTap->mutex);
}

void seawal_tap_persist(SeawalTap *pTap, int isPersist){
  pthread_mutex_lock(&pTap->mutex);
  pTap->isPersist = isPersist;
  pthread_mutex_unlock(&pTap->mutex);
}

void seawal_tap_stats(SeawalTap *pTap, SeawalStats *pStats){
  pthread_mutex_lock(&pTap->mutex);
  *pStats = pTap->stats;
  pStats->nRing = pTap->iHead-pTap->iTail;
  pStats->mxFrame = pTap->mxFrame;
  pStats->szPage = pTap->szPage;
  pStats->iTicket = pTap->iTicket;
  pStats->iTime = pTap->iTime;
  pStats->nOpen = pTap->nOpen;
  pthread_mutex_unlock(&pTap->mutex);
}

int seawal_tap_read(SeawalTap *pTap, void *pBuf, int nByte, int64_t iOfst){
  sqlite3_file *pFile = pTap->pReader;
  if( pFile==0 ) return SQLITE_IOERR;
  return ORIGFILE(pFile)->xRead(pFile, pBuf, nByte, iOfst);
}

int seawal_tap_file_size(SeawalTap *pTap, int64_t *pnByte){
  sqlite3_file *pFile = pTap->pReader;
  i64 nByte = 0;
  int rc;
  if( pFile==0 ) return SQLITE_IOERR;
  rc = ORIGFILE(pFile)->xFileSize(pFile, &nByte);
  *pnByte = nByte;
  return rc;
}

int seawal_tap_place(SeawalTap *pTap, SeawalPlace *pOut){
  IndexHdr hdr;
  SeawalTail *p;
  u32 iCounter = 0;
  int isRead = 0;
  int rc = SQLITE_OK;
  memset(pOut, 0, sizeof(*pOut));
  if( pTap->pReader==0 ) return SQLITE_IOERR;
  p = TAIL(pTap->pReader);
  if( p->pWal==0 ) isRead = readCounter(pTap->pReader, &iCounter);
  pthread_mutex_lock(&pTap->mutex);
  pOut->isWal = p->pWal!=0;
  pOut->iReadLock = p->iReadLock;
  if( p->pWal ){
    if( !readIndexHdr(p->aShm, &hdr) ){
      rc = SQLITE_BUSY;
    }else if( !pTap->isKnown ){
      syncPlaceLocked(pTap, &hdr);
    }else if( !isSameSalt(hdr.aSalt, pTap->aSalt) || hdr.mxFrame!=pTap->mxFrame ){
      rc = SQLITE_BUSY;
    }
    pOut->nPage = hdr.nPage;
    pOut->szPage = hdr.szPage;
    memcpy(pOut->aSalt, pTap->aSalt, sizeof(pOut->aSalt));
    pOut->mxFrame = pTap->mxFrame;
  }else if( pTap->isKnown || pTap->isCounter ){
    /* With SHARED held, every commit of ours is published. */
    syncCounterLocked(pTap, isRead, iCounter);
  }else{
    pTap->isCounter = isRead;
    pTap->iCounter = iCounter;
  }
  pOut->iTicket = pTap->iTicket;
  if( rc==SQLITE_OK ) pTap->nPin++;
  pthread_mutex_unlock(&pTap->mutex);
  return rc;
}

void seawal_tap_attaching(SeawalTap *pTap, int isAttaching){
  pthread_mutex_lock(&pTap->mutex);
  pTap->isAttaching = isAttaching;
  pthread_mutex_unlock(&pTap->mutex);
}

int seawal_tap_empty(SeawalTap *pTap, u64 iTicket){
  int rc = SQLITE_BUSY;
  pthread_mutex_lock(&pTap->mutex);
  if( pTap->iTicket==iTicket ){
    if( !pTap->isKnown ){
      pTap->isKnown = pTap->isCounter = 1;
      pTap->iCounter = 0;
    }
    rc = SQLITE_OK;
  }
  pthread_mutex_unlock(&pTap->mutex);
  return rc;
}

void seawal_tap_alone(SeawalTap *pTap, int isAlone){
  pthread_mutex_lock(&pTap->mutex);
  pTap->isAlone = isAlone;
  pthread_cond_broadcast(&pTap->cond);
  pthread_mutex_unlock(&pTap->mutex);
}

void seawal_tap_unpin(SeawalTap *pTap){
  pthread_mutex_lock(&pTap->mutex);
  pTap->nPin--;
  pthread_mutex_unlock(&pTap->mutex);
}

/************************** Create and register ******************************/

SeawalTap *seawal_tap_create(const char *zPath, u64 szRing, u64 mxWal, int isBlock, int fdWake, u64 iHandle){
  SeawalTap *p = calloc(1, sizeof(*p));
  if( p==0 ) return 0;
  p->zPath = strdup(zPath);
  p->aRing = malloc(szRing);
  p->aHold = malloc(HOLD_MAX);
  p->aQueue = calloc(QUEUE_MAX, sizeof(SeawalCommit));
  if( p->zPath==0 || p->aRing==0 || p->aHold==0 || p->aQueue==0 ){
    free(p->zPath); free(p->aRing); free(p->aHold); free(p->aQueue); free(p);
    return 0;
  }
  p->szRing = szRing;
  p->mxWal = mxWal;
  p->isBlock = isBlock;
  p->fdWake = fdWake;
  p->iHandle = iHandle;
  pthread_mutex_init(&p->mutex, 0);
  pthread_cond_init(&p->cond, 0);
  pthread_mutex_lock(&shimMutex);
  p->pNext = shimTaps;
  shimTaps = p;
  pthread_mutex_unlock(&shimMutex);
  return p;
}

int seawal_tap_destroy(SeawalTap *p){
  SeawalTap **pp;
  int nOpen;
  pthread_mutex_lock(&shimMutex);
  pthread_mutex_lock(&p->mutex);
  nOpen = p->nOpen;
  pthread_mutex_unlock(&p->mutex);
  if( nOpen==0 ){
    for(pp=&shimTaps; *pp!=p; pp=&(*pp)->pNext){}
    *pp = p->pNext;
  }
  pthread_mutex_unlock(&shimMutex);
  if( nOpen ) return SQLITE_BUSY;
  pthread_cond_destroy(&p->cond);
  pthread_mutex_destroy(&p->mutex);
  free(p->zPath); free(p->aRing); free(p->aHold); free(p->aQueue); free(p);
  return SQLITE_OK;
}

int seawal_version_ok(int iVersion){
  /* 3.51.3 fixed the bug; 3.50.7 and 3.44.6 have the fix too. */
  return iVersion>=3051003
      || (iVersion>=3050007 && iVersion<3051000)
      || (iVersion>=3044006 && iVersion<3045000);
}

int seawal_full_pathname(const char *zVfs, const char *zPath, char *zOut, int nOut){
  sqlite3_vfs *pVfs = sqlite3_vfs_find(zVfs);
  if( pVfs==0 ) return SQLITE_ERROR;
  return pVfs->xFullPathname(pVfs, zPath, min(nOut, pVfs->mxPathname+1), zOut);
}

int seawal_shim_register(const char *zName, const char *zLower, const char **pzErr){
  sqlite3_vfs *pLower = sqlite3_vfs_find(zLower);
  SeawalVfs *p;
  int rc;
  *pzErr = 0;
  if( pLower==0 ){ *pzErr = "no such lower VFS"; return SQLITE_ERROR; }
  if( pLower->xOpen==shimOpen ){ *pzErr = "that is seawal's own VFS; name the one to lie beneath it"; return SQLITE_ERROR; }
  pthread_mutex_lock(&shimMutex);
  for(p=shimVfs; p && strcmp(p->base.zName, zName)!=0; p=p->pNext){}
  if( p ){
    rc = p->pLower==pLower ? SQLITE_OK : SQLITE_ERROR;
    if( rc ) *pzErr = "the name is taken by a shim over another VFS";
    goto register_done;
  }
  p = calloc(1, sizeof(*p));
  if( p==0 ){ rc = SQLITE_NOMEM; *pzErr = "out of memory"; goto register_done; }
  p->pLower = pLower;
  p->base.iVersion = min(pLower->iVersion, 3);
  p->base.szOsFile = ((pLower->szOsFile+7)&~7) + (int)sizeof(SeawalTail);
  p->base.mxPathname = pLower->mxPathname;
  p->base.zName = strdup(zName);
  p->base.pAppData = pLower->pAppData;
  p->base.xOpen = shimOpen;
  p->base.xDelete = shimDelete;
  p->base.xAccess = shimAccess;
  p->base.xFullPathname = shimFullPathname;
  p->base.xDlOpen = shimDlOpen;
  p->base.xDlError = shimDlError;
  p->base.xDlSym = shimDlSym;
  p->base.xDlClose = shimDlClose;
  p->base.xRandomness = shimRandomness;
  p->base.xSleep = shimSleep;
  p->base.xCurrentTime = shimCurrentTime;
  p->base.xGetLastError = shimGetLastError;
  p->base.xCurrentTimeInt64 = shimCurrentTimeInt64;
  p->base.xSetSystemCall = shimSetSystemCall;
  p->base.xGetSystemCall = shimGetSystemCall;
  p->base.xNextSystemCall = shimNextSystemCall;
  rc = sqlite3_vfs_register(&p->base, 0);
  if( rc ){
    *pzErr = "sqlite3_vfs_register failed";
    free((char*)p->base.zName);
    free(p);
    goto register_done;
  }
  p->pNext = shimVfs;
  shimVfs = p;

register_done:
  pthread_mutex_unlock(&shimMutex);
  return rc;
}
