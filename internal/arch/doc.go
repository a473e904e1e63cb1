// Package arch holds the rules of who may import whom, as a test: go test
// ./internal/arch fails when an import goes against the design.
//
//   - vfs links no network code. An app that replicates to a folder opens no
//     socket, and which network comes in is decided by the store it imports.
//   - shipper, restore, store and the formats need no cgo, so restore runs where
//     there is no C compiler, and nothing but vfs knows SQLite's library.
//   - restore never imports vfs: getting data back depends on nothing that
//     captures it.
//   - Third-party code enters only through the package that needs it; a module
//     that no rule names, such as a cloud's SDK, only below store/<name>.
//   - The formats know nothing of stores, and stores nothing of formats.
package arch
