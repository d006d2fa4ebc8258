package mutants

var _ = plant(part{
	name: "verifier",
	mutants: []mutant{
		{name: "a third dot is a MAC", test: "TestExplain", file: "verifier.go",
			old: "return unlessDotted(payload, err)", new: "return err"},
		{name: "a third dot is a key", test: "TestExplain", file: "verifier.go",
			old: "return unlessDotted(payload, errKeyExpired)", new: "return errKeyExpired"},
		{name: "audiences are the caller's", test: "TestVerifierOwnsItsLists", file: "verifier.go",
			old: "audiences: slices.Clone(config.Audiences)", new: "audiences: config.Audiences"},
		{name: "claims of a refused payload stay", test: "TestRefusedPayloadIsNoTicket", file: "verifier.go",
			old: "t.set, t.payload = claims.Set{Used: used}, 0", new: "t.set.Used = used"},
		{name: "an escape of other letters", test: "TestPercentByteAgainstReference", file: "binding.go",
			old: "case 'A' <= d && d <= 'F':", new: "case 'A' <= d && d <= 'G':"},
		{name: "room behind a claim", test: "TestViewsHaveNoRoom", file: "ticket.go",
			old: "return t.buf[at.Off:end:end]", new: "return t.buf[at.Off:end]"},
		{name: "room behind a key id", test: "TestViewsHaveNoRoom", file: "ticket.go",
			old: "return t.key[:t.keyLen:t.keyLen]", new: "return t.key[:t.keyLen]"},
		{name: "room behind the payload", test: "TestViewsHaveNoRoom", file: "ticket.go",
			old: "return t.buf[:t.payload:t.payload]", new: "return t.buf[:t.payload]"},
	},
})
