/*
** Commits with durability=remote: where they wait for the replica, and how they tell that it isn't known
** to have them.
**
** Every function here runs on SQLite's own thread, called by the file methods of shim.c.
**
** WHERE A COMMIT WAITS
**
** In WAL mode at COMMIT_PHASETWO, in a rollback journal mode at the xUnlock(SHARED) that follows it. The
** transaction is committed and published by then, and the lock of a writer is free: others go on writing, and
** commits that wait together share an upload.
**
** The connection still has its read lock then, for the whole upload, or the whole outage. With a few
** writers that commit one after the other, some read lock would be held at any moment, and the WAL could never
** be started again. So the shim gives the lock back itself before it waits, and keeps SQLite's own release of
** it from the lower VFS. Nothing is read in between: the statement that commits is the only one that runs, its
** cursors are closed, and of the pages that SQLite still looks at (page 1 alone) it holds the cached copy.
** Where another statement runs, or the cache is shared by several connections, SQLite would go on reading with
** that lock: it stays, and the wait ends once the WAL is larger than mxWal.
**
** HOW IT TELLS
**
** A result that is neither SQLITE_FULL nor an SQLITE_IOERR, returned there, becomes the statement's, also in
** sqlite3_reset() and sqlite3_finalize(), which end an INSERT ... RETURNING that wasn't stepped to its end.
** sqlite3VdbeHalt() rolls back because of it. That finds the pager in the state of a reader, and has nothing to undo;
** what it does besides is the price: the rollback hook is called, virtual tables get xRollback in place of xCommit (after
** xSync, so that what they write into the database is there), changes() is 0, and after a change of the
** schema that is read again.
**
** That is so for the only database which a transaction has changed. With several, those after it would
** really be rolled back; and a RELEASE that fails leaves its savepoint open, in which the next statements would
** never be committed. There the wal hook tells, which sqlite3_step() calls after the end of the transaction: it is
** installed for the one call. In rollback journal modes there is no such hook, and with a super-journal SQLite
** ignores every result of the second phase: what could not be told is refused in the first.
**
** The temporary database doesn't count as another one: every BEGIN IMMEDIATE takes it along once it exists. What
** the transaction did to temporary tables is rolled back when the error is returned.
*/
#include <stdint.h>
#include <string.h>

#include "tap.h"

/* The temporary database's place among those of a connection. */
#define TEMP_DB  1

/* Since 3.51. Without it the statement's message is SQLite's own for the code. */
extern int sqlite3_set_errmsg(sqlite3*, int, const char*) __attribute__((weak));

/* The tail of a database's main file, 0 when that belongs to no tap. */
static SeawalTail *tailOf(sqlite3 *db, const char *zDb){
  SeawalTail *p = 0;
  return sqlite3_file_control(db, zDb, FCNTL_TAIL, &p)==SQLITE_OK ? p : 0;
}

/* Where the durability of a file's commits is set: an attached database has that of the main one, unless a PRAGMA named it.
** Files of a shared cache are left alone: to look at another one could let go of this one's mutex. */
static SeawalTail *settingOf(SeawalTail *p){
  sqlite3 *db = connOf(p);
  SeawalTail *pMain;
  if( p->isDurabilitySet || p->isShared || db==0 ) return p;
  pMain = tailOf(db, "main");
  return pMain ? pMain : p;
}

/* Says whether the last commit through the file has yet to be waited for. */
static int isAwaited(SeawalTail *p){
  return p->eRole==SEAWAL_APP && p->iTicket>p->iWaited && settingOf(p)->isRemote;
}

/* How many statements of the connection are running, the one that commits among them; *ppStmt is one of them. */
static int nRunning(sqlite3 *db, sqlite3_stmt **ppStmt){
  sqlite3_stmt *pStmt = 0;
  int n = 0;
  *ppStmt = 0;
  if( db==0 ) return 0;
  while( (pStmt = sqlite3_next_stmt(db, pStmt))!=0 ){
    if( sqlite3_stmt_busy(pStmt) ){
      *ppStmt = pStmt;
      n++;
    }
  }
  return n;
}

/* Says whether SQLite itself lets go of the file's read lock as soon as the commit returns. */
static int isLastReader(const SeawalTail *p){
  sqlite3_stmt *pStmt;
  return !p->isShared && connOf(p) && nRunning(connOf(p), &pStmt)<=1;
}

/* Says whether the statement begins with a keyword. */
static int beginsWith(sqlite3_stmt *pStmt, const char *zWord){
  const char *z = pStmt ? sqlite3_sql(pStmt) : 0;
  while( z && *z ){
    if( *z==' ' || *z==';' || (*z>='\t' && *z<='\r') ){
      z++;
    }else if( z[0]=='-' && z[1]=='-' ){
      z = strchr(z, '\n');
    }else if( z[0]=='/' && z[1]=='*' ){
      z = strstr(&z[2], "*/");
      if( z ) z += 2;
    }else{
      return sqlite3_strnicmp(z, zWord, (int)strlen(zWord))==0;
    }
  }
  return 0;
}

/* How many databases of the connection the transaction has yet to commit; as long as none is done, all of its own. */
static int nToCommit(sqlite3 *db){
  sqlite3_stmt *pStmt;
  const char *zDb;
  int n = 0;
  int i;
  if( db==0 ) return 0;
  for(i=0; (zDb = sqlite3_db_name(db, i))!=0; i++){
    n += i!=TEMP_DB && sqlite3_txn_state(db, zDb)==SQLITE_TXN_WRITE;
  }
  if( n<=1 ) return n;
  /* A VACUUM has a database of its own attached, and commits the other one alone. */
  (void)nRunning(db, &pStmt);
  return beginsWith(pStmt, "vacuum") ? 1 : n;
}

/**************************** The wal hook, for once *************************/

/* Puts back the wal hook that was there. */
static void restoreHook(SeawalTail *p){
  sqlite3 *db = connOf(p);
  SeawalTail *pMain = tailOf(db, "main");
  p->isOwed = 0;
  if( p->pOldHook==0 && pMain && pMain->isHooked ){
    sqlite3_wal_hook(db, seawalAttachedHook, 0);
  }else{
    /* SQLite's own, whose argument is the number of frames; or none. */
    sqlite3_wal_autocheckpoint(db, (int)(intptr_t)p->pOldHook);
  }
}

/* What is owed was owed by a statement that failed in another way, or the file is being closed. */
void seawalForgetOwed(SeawalTail *p){
  if( p->isOwed ) restoreHook(p);
}

/* The database of the connection for which an error is owed. */
static SeawalTail *owedOf(sqlite3 *db){
  const char *zDb;
  int i;
  for(i=0; (zDb = sqlite3_db_name(db, i))!=0; i++){
    SeawalTail *p = i==TEMP_DB ? 0 : tailOf(db, zDb);
    if( p && p->isOwed ) return p;
  }
  return 0;
}

static int owedHook(void *pUnused, sqlite3 *db, const char *zDb, int nFrame){
  SeawalTail *p = owedOf(db);
  (void)pUnused; (void)zDb; (void)nFrame;
  if( p ) restoreHook(p);
  /* The caller may ask for the message before it resets the statement: the code is SQLITE_ERROR till then. */
  if( sqlite3_set_errmsg ) sqlite3_set_errmsg(db, SEAWAL_NOT_DURABLE, SEAWAL_NOT_DURABLE_TEXT);
  return SEAWAL_NOT_DURABLE;
}

/* The statement that is running returns SEAWAL_NOT_DURABLE once all its databases are done. */
static void oweError(SeawalTail *p){
  sqlite3 *db = connOf(p);
  if( owedOf(db) ) return;
  p->pOldHook = sqlite3_wal_hook(db, owedHook, 0);
  p->isOwed = 1;
}

/********************************* The waits *********************************/

/* A frame that commits is about to be written: no database of the transaction is done. */
void seawalNoteCommitting(SeawalTail *p){
  p->nOfTxn = 0;
  if( p->eRole!=SEAWAL_APP || !settingOf(p)->isRemote ) return;
  seawalForgetOwed(p);
  p->nOfTxn = nToCommit(connOf(p));
}

/* Says whether a transaction of the database can be rolled back: with journal_mode=OFF it has no journal. */
static int hasJournal(const SeawalTail *p){
  const char *zDb;
  int i;
  for(i=0; (zDb = sqlite3_db_name(connOf(p), i))!=0; i++){
    sqlite3_file *pJournal = 0;
    if( i==TEMP_DB || tailOf(connOf(p), zDb)!=p ) continue;
    return sqlite3_file_control(connOf(p), zDb, SQLITE_FCNTL_JOURNAL_POINTER, &pJournal)==SQLITE_OK
        && pJournal && pJournal->pMethods;
  }
  return 0;
}

/* In a rollback journal mode the file is about to be synced, the last moment at which the transaction can be refused. */
int seawalRefuseUntold(SeawalTail *p, const char *zSuper){
  sqlite3 *db = connOf(p);
  sqlite3_stmt *pStmt;
  int isSeveral;
  if( p->pWal || !p->isJournal || p->eRole!=SEAWAL_APP || p->isShared || db==0 || !settingOf(p)->isRemote ) return SQLITE_OK;
  isSeveral = zSuper!=0 || nToCommit(db)>1;
  (void)nRunning(db, &pStmt);
  if( (!isSeveral && !beginsWith(pStmt, "release")) || !hasJournal(p) ) return SQLITE_OK;
  seawalGoRefused(p->pTap->iHandle, isSeveral);
  return SEAWAL_UNTOLD;
}

/* Waits until the replica has the last commit; SEAWAL_NOT_DURABLE when that isn't known. */
static int await(SeawalTail *p, int isPinning){
  p->iWaited = p->iTicket;
  return seawalGoWait(p->pTap->iHandle, p->iTicket, settingOf(p)->msTimeout, isPinning, connOf(p))
       ? SQLITE_OK : SEAWAL_NOT_DURABLE;
}

/* Waits in WAL mode, without the read lock if that may go. */
static int awaitWithoutLock(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  int isFree = p->iReadLock<0;
  if( !isAwaited(p) ) return SQLITE_OK;
  if( !isFree && isLastReader(p)
   && ORIGFILE(pFile)->xShmLock(pFile, WAL_READ_LOCK0+p->iReadLock, 1, SQLITE_SHM_UNLOCK|SQLITE_SHM_SHARED)==SQLITE_OK ){
    p->isLetGo = 1;
    isFree = 1;
  }
  return await(p, !isFree);
}

/* COMMIT_PHASETWO in WAL mode. */
int seawalAwaitWal(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  sqlite3 *db = connOf(p);
  SeawalTail *pOwed;
  sqlite3_stmt *pStmt;
  int isLast;
  int rc;
  if( p->eRole!=SEAWAL_APP || !settingOf(p)->isRemote ) return SQLITE_OK;
  rc = awaitWithoutLock(pFile);
  if( p->isShared || db==0 ) return rc;
  (void)nRunning(db, &pStmt);
  isLast = nToCommit(db)<=1 && !beginsWith(pStmt, "release");
  pOwed = isLast ? owedOf(db) : 0;
  /* Of two databases one at most has a rollback journal: there is no super-journal, and the second one can tell for both. */
  if( pOwed && pOwed->nOfTxn==2 ){
    restoreHook(pOwed);
    return SEAWAL_NOT_DURABLE;
  }
  if( rc==SQLITE_OK || (isLast && p->nOfTxn<=2) ) return rc;
  /* With columns it may be reset before its end, where no hook is called. Of several databases (its table has a temporary
  ** trigger) the others' part is given up then, rather than the truth about this one. */
  if( pStmt && sqlite3_column_count(pStmt)>0 ) return rc;
  oweError(p);
  return SQLITE_OK;
}

/* COMMIT_PHASETWO in a rollback journal mode. With locking_mode=EXCLUSIVE no xUnlock will come. */
int seawalAwaitJournal(sqlite3_file *pFile){
  SeawalTail *p = TAIL(pFile);
  if( !isAwaited(p) || !(p->isExclusive || settingOf(p)->isExclusive) ) return SQLITE_OK;
  return await(p, 0);
}

/* xUnlock has been called in a rollback journal mode, and the lower VFS has done it. */
int seawalAwaitUnlocked(sqlite3_file *pFile, int eLock){
  SeawalTail *p = TAIL(pFile);
  if( p->pWal || !isAwaited(p) ) return SQLITE_OK;
  /* SQLite lets go in two steps. With SHARED held all other writers would be kept from their commits. */
  if( eLock==SQLITE_LOCK_SHARED && isLastReader(p) ) (void)ORIGFILE(pFile)->xUnlock(pFile, SQLITE_LOCK_NONE);
  return await(p, 0);
}
