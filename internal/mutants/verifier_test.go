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
	},
})
