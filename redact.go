package wsticket

import (
	"strings"

	"github.com/wsticket/wsticket/internal/carrier"
)

// RedactURL returns a URL, or a request target, with the ticket in its query replaced
// by "redacted": what may go into a log. A ticket is a credential until it is spent,
// and a line in a log is read by more people than may connect. All else is left as it
// stands. It need not be a valid URL: a request that was refused for its URL may have a
// ticket in it too.
func RedactURL(url string) string {
	const ends = "?&#;"
	start := strings.IndexAny(url, "?#")
	if start < 0 {
		return url
	}
	var clean strings.Builder
	clean.WriteString(url[:start])
	for rest := url[start:]; rest != ""; {
		clean.WriteByte(rest[0]) // one of ends
		parameter := rest[1:]
		if end := strings.IndexAny(parameter, ends); end >= 0 {
			parameter = parameter[:end]
		}
		rest = rest[1+len(parameter):]
		name, value, _ := strings.Cut(parameter, "=")
		if value != "" && carrier.IsParameter([]byte(name)) {
			parameter = name + "=redacted"
		}
		clean.WriteString(parameter)
	}
	return clean.String()
}
