package carrier

// IsParameter says whether a query parameter of this raw name carries a ticket, or
// would for a reader that decodes the name and folds its case.
func IsParameter(name []byte) bool { return decodesToOurs(name) }
