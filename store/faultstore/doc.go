// Package faultstore is a store.Store that has bad days on command, for tests of
// what is built on stores.
//
// Wrap puts it around any store. What goes wrong is a script of rules: each
// has a Predicate that says which calls it meets, and an Effect that says what
// becomes of them; the first rule that meets a call has it.
//
//	outage := new(faultstore.Toggle)
//	s := faultstore.Wrap(storetest.NewMemory(), faultstore.Options{},
//		faultstore.When(faultstore.And(faultstore.OnOp(store.OpCreate), faultstore.OnIndex(2)), faultstore.LostAck(errReset)),
//		faultstore.When(outage, faultstore.Fail(errRefused)),
//		faultstore.When(faultstore.Randomly(0.1, seed), faultstore.CutShort(100)),
//	)
//	outage.On()
//
// With the same seed and the same calls in the same order the same things go
// wrong. Calls from several goroutines come in no order: there, script by name and
// class, not by index or chance.
package faultstore
