package wsticket

import (
	"strings"

	"github.com/wsticket/wsticket/internal/carrier"
)

// RedactURL returns a URL, or a request target, with the ticket in its query
// replaced by "redacted": what may go into a log. A ticket is a credential until
// it is spent, and a line in a log is read by more people than may connect. All
// else is left as it stands, also where it is no valid URL.
func RedactURL(url string) string {
	start := strings.IndexByte(url, '?')
	if start < 0 {
		return url
	}
	query, fragment := url[start+1:], ""
	if end := strings.IndexByte(query, '#'); end >= 0 {
		query, fragment = query[:end], query[end:]
	}
	parameters := strings.Split(query, "&")
	for i, parameter := range parameters {
		name, value, _ := strings.Cut(parameter, "=")
		if value != "" && carrier.IsParameter([]byte(name)) {
			parameters[i] = name + "=redacted"
		}
	}
	return url[:start+1] + strings.Join(parameters, "&") + fragment
}
