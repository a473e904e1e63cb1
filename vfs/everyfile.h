/*
** The border between everyfile.c and everyfile.go.
*/
#ifndef SEAWAL_EVERYFILE_H
#define SEAWAL_EVERYFILE_H

#include <stdint.h>

/* Makes a VFS over the shim zShim that replicates every database file, and SQLite's default one. Before
** anything is opened. Returns an SQLite code. */
int seawal_everyfile_register(const char *zShim);

/* In everyfile.go, called on the thread of the connection. A database file is about to be opened: makes its
** tap and returns the handle of its database, 0 when it is not to be replicated. Each handle is
** given back with seawalGoEveryClosed(), after the file was closed or could not be opened. */
uint64_t seawalGoEveryOpen(char *zName, int isReadOnly);
void seawalGoEveryOpened(uint64_t iHandle);
void seawalGoEveryClosed(uint64_t iHandle);

#endif
