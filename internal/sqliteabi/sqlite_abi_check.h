/*
** Assertions on SQLite's C interface.  This file declares nothing itself: it is
** included behind our own declarations by sqlite_abi.h, and behind the real
** sqlite3.h by TestABI, so the two cannot drift apart unnoticed.
**
** Offsets count pointers: the first member of each table is an int that is
** padded to the size of a pointer, and of sqlite3_vfs the first three ints
** take two pointers on 64-bit and three on 32-bit machines.
*/
#ifndef SEAWAL_SQLITE_ABI_CHECK_H
#define SEAWAL_SQLITE_ABI_CHECK_H

#include <stddef.h>

#define ABI_PTR           sizeof(void*)
#define ABI_METHOD(X,N) \
  _Static_assert(offsetof(sqlite3_io_methods,X)==(N)*ABI_PTR, #X)
#define ABI_VFS(X,N) \
  _Static_assert(offsetof(sqlite3_vfs,X)==((N)+(ABI_PTR==8 ? 2 : 3))*ABI_PTR,#X)
#define ABI_VALUE(X,V)    _Static_assert((X)==(V), #X)

_Static_assert(sizeof(sqlite3_int64)==8, "sqlite3_int64");
_Static_assert(sizeof(struct sqlite3_file)==ABI_PTR, "sqlite3_file");
_Static_assert(sizeof(struct sqlite3_io_methods)==19*ABI_PTR, "io_methods");

ABI_METHOD(iVersion, 0);
ABI_METHOD(xClose, 1);
ABI_METHOD(xRead, 2);
ABI_METHOD(xWrite, 3);
ABI_METHOD(xTruncate, 4);
ABI_METHOD(xSync, 5);
ABI_METHOD(xFileSize, 6);
ABI_METHOD(xLock, 7);
ABI_METHOD(xUnlock, 8);
ABI_METHOD(xCheckReservedLock, 9);
ABI_METHOD(xFileControl, 10);
ABI_METHOD(xSectorSize, 11);
ABI_METHOD(xDeviceCharacteristics, 12);
ABI_METHOD(xShmMap, 13);
ABI_METHOD(xShmLock, 14);
ABI_METHOD(xShmBarrier, 15);
ABI_METHOD(xShmUnmap, 16);
ABI_METHOD(xFetch, 17);
ABI_METHOD(xUnfetch, 18);

_Static_assert(offsetof(sqlite3_vfs,iVersion)==0, "iVersion");
_Static_assert(offsetof(sqlite3_vfs,szOsFile)==4, "szOsFile");
_Static_assert(offsetof(sqlite3_vfs,mxPathname)==8, "mxPathname");
ABI_VFS(pNext, 0);
ABI_VFS(zName, 1);
ABI_VFS(pAppData, 2);
ABI_VFS(xOpen, 3);
ABI_VFS(xDelete, 4);
ABI_VFS(xAccess, 5);
ABI_VFS(xFullPathname, 6);
ABI_VFS(xDlOpen, 7);
ABI_VFS(xDlError, 8);
ABI_VFS(xDlSym, 9);
ABI_VFS(xDlClose, 10);
ABI_VFS(xRandomness, 11);
ABI_VFS(xSleep, 12);
ABI_VFS(xCurrentTime, 13);
ABI_VFS(xGetLastError, 14);
ABI_VFS(xCurrentTimeInt64, 15);
ABI_VFS(xSetSystemCall, 16);
ABI_VFS(xGetSystemCall, 17);
ABI_VFS(xNextSystemCall, 18);

ABI_VALUE(SQLITE_OK, 0);
ABI_VALUE(SQLITE_ERROR, 1);
ABI_VALUE(SQLITE_BUSY, 5);
ABI_VALUE(SQLITE_NOMEM, 7);
ABI_VALUE(SQLITE_CANTOPEN, 14);
ABI_VALUE(SQLITE_IOERR, 10);
ABI_VALUE(SQLITE_IOERR_SHORT_READ, 522);
ABI_VALUE(SQLITE_NOTFOUND, 12);
ABI_VALUE(SQLITE_MISUSE, 21);
ABI_VALUE(SQLITE_WARNING, 28);
ABI_VALUE(SQLITE_TXN_WRITE, 2);
ABI_VALUE(SQLITE_ACCESS_EXISTS, 0);
ABI_VALUE(SQLITE_OPEN_READONLY, 1);
ABI_VALUE(SQLITE_OPEN_READWRITE, 2);
ABI_VALUE(SQLITE_OPEN_MAIN_DB, 0x100);
ABI_VALUE(SQLITE_OPEN_TEMP_DB, 0x200);
ABI_VALUE(SQLITE_OPEN_TRANSIENT_DB, 0x400);
ABI_VALUE(SQLITE_OPEN_MAIN_JOURNAL, 0x800);
ABI_VALUE(SQLITE_OPEN_TEMP_JOURNAL, 0x1000);
ABI_VALUE(SQLITE_OPEN_SUBJOURNAL, 0x2000);
ABI_VALUE(SQLITE_OPEN_SUPER_JOURNAL, 0x4000);
ABI_VALUE(SQLITE_OPEN_WAL, 0x80000);
ABI_VALUE(SQLITE_LOCK_NONE, 0);
ABI_VALUE(SQLITE_LOCK_SHARED, 1);
ABI_VALUE(SQLITE_LOCK_EXCLUSIVE, 4);
ABI_VALUE(SQLITE_SHM_UNLOCK, 1);
ABI_VALUE(SQLITE_SHM_LOCK, 2);
ABI_VALUE(SQLITE_SHM_SHARED, 4);
ABI_VALUE(SQLITE_SHM_EXCLUSIVE, 8);
ABI_VALUE(SQLITE_MUTEX_FAST, 0);
ABI_VALUE(SQLITE_FCNTL_PERSIST_WAL, 10);
ABI_VALUE(SQLITE_FCNTL_POWERSAFE_OVERWRITE, 13);
ABI_VALUE(SQLITE_FCNTL_PRAGMA, 14);
ABI_VALUE(SQLITE_FCNTL_SYNC, 21);
ABI_VALUE(SQLITE_FCNTL_COMMIT_PHASETWO, 22);
ABI_VALUE(SQLITE_FCNTL_JOURNAL_POINTER, 28);
ABI_VALUE(SQLITE_FCNTL_PDB, 30);

/* The functions that are called through their declarations here. */
#define ABI_FUNC(X,T)     _Static_assert(__builtin_types_compatible_p(__typeof__(X), T), #X)

ABI_FUNC(sqlite3_vfs_find, sqlite3_vfs*(const char*));
ABI_FUNC(sqlite3_vfs_register, int(sqlite3_vfs*, int));
ABI_FUNC(sqlite3_vfs_unregister, int(sqlite3_vfs*));
ABI_FUNC(sqlite3_database_file_object, struct sqlite3_file*(const char*));
ABI_FUNC(sqlite3_filename_journal, const char*(const char*));
ABI_FUNC(sqlite3_uri_parameter, const char*(const char*, const char*));
ABI_FUNC(sqlite3_is_interrupted, int(sqlite3*));
ABI_FUNC(sqlite3_next_stmt, sqlite3_stmt*(sqlite3*, sqlite3_stmt*));
ABI_FUNC(sqlite3_stmt_busy, int(sqlite3_stmt*));
ABI_FUNC(sqlite3_sql, const char*(sqlite3_stmt*));
ABI_FUNC(sqlite3_column_count, int(sqlite3_stmt*));
ABI_FUNC(sqlite3_db_name, const char*(sqlite3*, int));
ABI_FUNC(sqlite3_txn_state, int(sqlite3*, const char*));
ABI_FUNC(sqlite3_file_control, int(sqlite3*, const char*, int, void*));
ABI_FUNC(sqlite3_wal_autocheckpoint, int(sqlite3*, int));
ABI_FUNC(sqlite3_wal_checkpoint, int(sqlite3*, const char*));
ABI_FUNC(sqlite3_wal_hook, void*(sqlite3*, int(*)(void*, sqlite3*, const char*, int), void*));
ABI_FUNC(sqlite3_mprintf, char*(const char*, ...));
ABI_FUNC(sqlite3_stricmp, int(const char*, const char*));
ABI_FUNC(sqlite3_strnicmp, int(const char*, const char*, int));
ABI_FUNC(sqlite3_malloc64, void*(sqlite3_uint64));
ABI_FUNC(sqlite3_realloc64, void*(void*, sqlite3_uint64));
ABI_FUNC(sqlite3_free, void(void*));
ABI_FUNC(sqlite3_mutex_alloc, sqlite3_mutex*(int));
ABI_FUNC(sqlite3_mutex_free, void(sqlite3_mutex*));
ABI_FUNC(sqlite3_mutex_enter, void(sqlite3_mutex*));
ABI_FUNC(sqlite3_mutex_leave, void(sqlite3_mutex*));
ABI_FUNC(sqlite3_sourceid, const char*(void));
ABI_FUNC(sqlite3_libversion, const char*(void));
ABI_FUNC(sqlite3_libversion_number, int(void));

#endif /* SEAWAL_SQLITE_ABI_CHECK_H */
