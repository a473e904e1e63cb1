/*
** What is compiled into SQLite's testfixture beside its own files. With SUITE_SEAWAL the archive of ../fixture is
** linked too; without it this is a plain testfixture, to compare with.
*/
#include <stdlib.h>
#include <tcl.h>

#ifdef SUITE_SEAWAL
# include "everyfile.h"
#endif

/* True on the thread that runs the tests, which is the only one that simulated faults are meant for. */
__thread int suiteIsTestThread = 0;

extern const char *sqlite3TestInit(Tcl_Interp*);

/* TCLSH_INIT_PROC of the testfixture. */
const char *suiteInit(Tcl_Interp *interp){
  const char *zScript = sqlite3TestInit(interp);
  suiteIsTestThread = 1;
#ifdef SUITE_SEAWAL
  if( getenv("SUITE_MODE") ) seawalGoEveryBegin(getenv("SUITE_MODE"));
#endif
  return zScript;
}

/* SQLITE_EXTRA_INIT. */
int suiteExtraInit(const char *zUnused){
  (void)zUnused;
#ifdef SUITE_SEAWAL
  return seawal_everyfile_default();
#else
  return 0;
#endif
}
