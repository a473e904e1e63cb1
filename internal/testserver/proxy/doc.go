// Package proxy stands between a client and a server of a test and makes the
// network bad, on command.
//
// TCP knows connections: refused, hanging, slow, cut. HTTP knows requests as
// well: it answers in the server's place, cuts bodies in the middle, damages
// them, and loses acknowledgements, which means that the server has done what it
// was asked for and the client learns of an error. Both work on plain text;
// neither knows any one store.
package proxy
