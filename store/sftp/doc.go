// Package sftp keeps objects as files on a server that is reached with SSH.
//
// Importing it registers sftp://user@host:port/path. The path begins at the root of what the server shows; /~/path
// begins in the user's home. Who logs in proves it with a key: that of the parameter identity, else those of an
// ssh-agent (SSH_AUTH_SOCK) and ~/.ssh/id_ed25519, id_ecdsa, id_rsa. The server proves itself with a host key that a
// known_hosts file has. Parameters of the URL:
//
//	identity=/path/to/key        the private key to log in with, instead of those above
//	known_hosts=/path/to/file    instead of ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts
//
// The server has to offer the extensions hardlink@openssh.com and fsync@openssh.com, as OpenSSH's does. An object is written into
// a temporary file in the folder .seawal-tmp, synced, and gets its name by a hard link, which fails when the name is
// taken: of two that write one name, one wins, and no part of an object is ever seen. Then its folder is synced, which the
// protocol knows nothing of; OpenSSH on Unix does it for a folder that was opened like a file, and another server
// is trusted to keep its folders safe.
//
//	open.go      the URL
//	session.go   one connection: how it is made, and how its end is noticed
//	dial.go      the connection that all calls share, made anew when it broke
//	auth.go      our keys and the server's
//	create.go    Create, folders, temporary files
//	store.go     Read, Stat, Delete, Close
//	reader.go    reading ahead
//	list.go      List
//	readdir.go   the entries of a folder as a stream, which the SDK has not
//	error.go     what an error means
//
// # Goroutines
//
//	name      owner            stops when                                        joined
//	dial      files.session    a connection is there, or not within a minute     by Close
//	watch     files.connect    the connection ends; idle for a minute it ends it by Close
//	wait      files.connect    the connection has ended                          by Close
//	a step    start            its answer came, or its connection has ended      by Close
package sftp
