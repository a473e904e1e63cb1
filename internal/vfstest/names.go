package vfstest

import "fmt"

// Code is a result code of SQLite, extended ones included.
type Code int

// The result codes that tests ask for. Any other number is as good.
const (
	OK             Code = 0
	Error          Code = 1
	Busy           Code = 5
	NoMem          Code = 7
	ReadOnly       Code = 8
	IOErr          Code = 10
	NotFound       Code = 12
	Full           Code = 13
	CantOpen       Code = 14
	Misuse         Code = 21
	IOErrRead      Code = 10 | 1<<8
	IOErrShortRead Code = 10 | 2<<8
	IOErrWrite     Code = 10 | 3<<8
	IOErrFsync     Code = 10 | 4<<8
	IOErrTruncate  Code = 10 | 6<<8
	IOErrFstat     Code = 10 | 7<<8
	IOErrUnlock    Code = 10 | 8<<8
	IOErrDelete    Code = 10 | 10<<8
	IOErrAccess    Code = 10 | 13<<8
	IOErrLock      Code = 10 | 15<<8
	IOErrClose     Code = 10 | 16<<8
	IOErrShmOpen   Code = 10 | 18<<8
	IOErrShmLock   Code = 10 | 20<<8
	IOErrShmMap    Code = 10 | 21<<8
)

var codeNames = map[Code]string{
	OK: "OK", Error: "ERROR", Busy: "BUSY", NoMem: "NOMEM", ReadOnly: "READONLY", IOErr: "IOERR",
	NotFound: "NOTFOUND", Full: "FULL", CantOpen: "CANTOPEN", Misuse: "MISUSE", IOErrRead: "IOERR_READ",
	IOErrShortRead: "IOERR_SHORT_READ", IOErrWrite: "IOERR_WRITE", IOErrFsync: "IOERR_FSYNC",
	IOErrTruncate: "IOERR_TRUNCATE", IOErrFstat: "IOERR_FSTAT", IOErrUnlock: "IOERR_UNLOCK",
	IOErrDelete: "IOERR_DELETE", IOErrAccess: "IOERR_ACCESS", IOErrLock: "IOERR_LOCK", IOErrClose: "IOERR_CLOSE",
	IOErrShmOpen: "IOERR_SHMOPEN", IOErrShmLock: "IOERR_SHMLOCK", IOErrShmMap: "IOERR_SHMMAP",
}

// String is the name without SQLITE_.
func (c Code) String() string {
	if s, ok := codeNames[c]; ok {
		return s
	}
	return fmt.Sprintf("code%d.%d", c&0xff, c>>8)
}

// Flags of xShmLock.
const (
	ShmUnlock    = 1
	ShmLocking   = 2 // SQLITE_SHM_LOCK
	ShmShared    = 4
	ShmExclusive = 8
)

// Slots of xShmLock, as SQLite's wal.c uses them.
const (
	SlotWrite   = 0
	SlotCkpt    = 1
	SlotRecover = 2
	SlotRead0   = 3 // WAL_READ_LOCK(n) is SlotRead0+n, n from 0 to 4
	SlotRead1   = 4
)

// Levels of xLock and xUnlock.
const (
	LevelNone      = 0
	LevelShared    = 1
	LevelReserved  = 2
	LevelPending   = 3
	LevelExclusive = 4
)

func levelName(level int) string {
	names := [...]string{"NONE", "SHARED", "RESERVED", "PENDING", "EXCLUSIVE"}
	if level >= 0 && level < len(names) {
		return names[level]
	}
	return fmt.Sprintf("level%d", level)
}

// Opcodes of xFileControl that tests look at.
const (
	FcntlSizeHint           = 5
	FcntlPersistWAL         = 10
	FcntlOverwrite          = 11
	FcntlPowersafeOverwrite = 13
	FcntlMmapSize           = 18
	FcntlSync               = 21
	FcntlCommitPhaseTwo     = 22
	FcntlCkptDone           = 37
	FcntlCkptStart          = 39
)

var controlNames = map[int]string{
	1: "LOCKSTATE", FcntlSizeHint: "SIZE_HINT", 6: "CHUNK_SIZE", 7: "FILE_POINTER", 8: "SYNC_OMITTED",
	FcntlPersistWAL: "PERSIST_WAL", FcntlOverwrite: "OVERWRITE", 12: "VFSNAME",
	FcntlPowersafeOverwrite: "POWERSAFE_OVERWRITE", 14: "PRAGMA", 15: "BUSYHANDLER", 16: "TEMPFILENAME",
	FcntlMmapSize: "MMAP_SIZE", 19: "TRACE", 20: "HAS_MOVED", FcntlSync: "SYNC", FcntlCommitPhaseTwo: "COMMIT_PHASETWO",
	24: "WAL_BLOCK", 25: "ZIPVFS", 27: "VFS_POINTER", 28: "JOURNAL_POINTER", 30: "PDB",
	31: "BEGIN_ATOMIC_WRITE", 32: "COMMIT_ATOMIC_WRITE", 33: "ROLLBACK_ATOMIC_WRITE", 34: "LOCK_TIMEOUT",
	35: "DATA_VERSION", 36: "SIZE_LIMIT", FcntlCkptDone: "CKPT_DONE", 38: "RESERVE_BYTES",
	FcntlCkptStart: "CKPT_START", 40: "EXTERNAL_READER", 41: "CKSM_FILE", 42: "RESET_CACHE",
	43: "NULL_IO", 44: "BLOCK_ON_CONNECT", 45: "FILESTAT",
}

func controlName(op int) string {
	if s, ok := controlNames[op]; ok {
		return s
	}
	return fmt.Sprintf("op%d", op)
}

var opNames = map[Op]string{
	Open: "open", Close: "close", Read: "read", Write: "write", Truncate: "truncate", Sync: "sync",
	Size: "size", Lock: "lock", Unlock: "unlock", CheckReservedLock: "reserved", Control: "ctl",
	SectorSize: "sector", DeviceCharacteristics: "devchar", ShmMap: "map", ShmLock: "shmlock",
	ShmBarrier: "barrier", ShmUnmap: "unmap", Fetch: "fetch", Unfetch: "unfetch",
	Delete: "delete", Access: "access", Lost: "lost",
}

// String is the word for the method in a trace.
func (o Op) String() string { return opNames[o] }

// String is the word for the kind of file in a trace.
func (k Kind) String() string {
	names := [...]string{"any", "db", "wal", "jrnl", "shm", "temp", "other"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind%d", uint8(k))
}
