/*
** Points at which a test kills the process: see internal/killpoint. Nothing without
** the build tag seawal_killpoints.
*/
#ifndef SEAWAL_KILLPOINT_H
#define SEAWAL_KILLPOINT_H

#ifdef SEAWAL_KILLPOINTS
void seawal_killpoint(const char *zName);   /* any thread */
# define SEAWAL_POINT(zName) seawal_killpoint(zName)
#else
# define SEAWAL_POINT(zName) ((void)0)
#endif

#endif
