/*
** The border between everyfile.c and everyfile.go.
*/
#ifndef SEAWAL_EVERYFILE_H
#define SEAWAL_EVERYFILE_H

#include <stdint.h>

/* Makes a VFS over the shim zShim that replicates every database file, and SQLite's default one. Before
** anything is opened. Returns an SQLite code. */
int seawal_everyfile_register(const char *zShim);

/* The same for a run in which nothing is replicated: the shim zShim itself becomes SQLite's default VFS. */
int seawal_everyfile_pass(const char *zShim);

/* Makes that VFS the default one again, if one was registered. sqlite3_initialize() after sqlite3_shutdown() prefers the
** system's: a program calls this as its SQLITE_EXTRA_INIT. */
int seawal_everyfile_default(void);

/* The offset of the byte that SQLite locks, which its own tests move. */
int64_t seawal_everyfile_pending(void);

/* In everyfile.go, called on the thread of the connection. A database file is about to be opened: makes its
** tap and returns the handle of its database, 0 when it is not to be replicated. Each handle is
** given back with seawalGoEveryClosed(), after the file was closed or could not be opened. */
uint64_t seawalGoEveryOpen(char *zName, int isReadOnly);
void seawalGoEveryOpened(uint64_t iHandle);
void seawalGoEveryClosed(uint64_t iHandle);

/* In everyprogram.go. A program written in C, into which this package is linked as an archive, begins with it. zMode is
** "pass" or "replicated". */
void seawalGoEveryBegin(char *zMode);

#endif
