package head

// Fault is what is wrong with a head.
type Fault uint8

// The faults. Every one is a bad_handshake, save TooManyFields and TooLong.
const (
	NoFault Fault = iota
	BadRequestLine
	BadTarget
	OtherHost
	NotHTTP11
	NotGET
	BadHeaderLine
	BadHost
	NoHost
	BadConnection
	TwiceHost
	TwiceUpgrade
	TwiceVersion
	TwiceKey
	TwiceOrigin
	HasBody
	NotWebSocket
	NoConnectionUpgrade
	NotVersion13
	NoKey
	BadKey
	TooManyFields
	TooLong
	NumFaults
)

var faults = [NumFaults]struct {
	status int
	text   string
}{
	NoFault:             {101, "no fault"},
	BadRequestLine:      {400, "the request line is not METHOD SP target SP HTTP/d.d CRLF"},
	BadTarget:           {400, "the request target is neither a path with an optional query nor an http URL, or its path has a broken percent-escape"},
	OtherHost:           {400, "the request target is a URL whose host and port are not those of the Host header, byte for byte"},
	NotHTTP11:           {505, "the request is not HTTP/1.1"},
	NotGET:              {405, "the method is not GET"},
	BadHeaderLine:       {400, "a header line is not name:value CRLF, or holds a control character"},
	BadHost:             {400, "the Host header is empty or holds a character that no host has"},
	NoHost:              {400, "there is no Host header"},
	BadConnection:       {400, "the Connection header is not a list of tokens"},
	TwiceHost:           {400, "there is more than one Host header"},
	TwiceUpgrade:        {400, "there is more than one Upgrade header"},
	TwiceVersion:        {400, "there is more than one Sec-WebSocket-Version header"},
	TwiceKey:            {400, "there is more than one Sec-WebSocket-Key header"},
	TwiceOrigin:         {400, "there is more than one Origin header"},
	HasBody:             {400, "there is a Content-Length other than 0, or a Transfer-Encoding header, and a handshake has no body"},
	NotWebSocket:        {426, "the Upgrade header is missing or is not websocket"},
	NoConnectionUpgrade: {426, "no Connection header lists upgrade"},
	NotVersion13:        {426, "the Sec-WebSocket-Version header is missing or is not 13"},
	NoKey:               {400, "there is no Sec-WebSocket-Key header"},
	BadKey:              {400, "the Sec-WebSocket-Key header is not the base64 of 16 bytes"},
	TooManyFields:       {431, "there are more header lines than the limit allows"},
	TooLong:             {431, "the head is longer than the limit allows"},
}

// Status is the HTTP status that answers f.
func (f Fault) Status() int { return faults[f].status }

// String says in words what is wrong.
func (f Fault) String() string { return faults[f].text }
