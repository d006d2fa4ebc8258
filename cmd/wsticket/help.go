package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

type command struct {
	name    string // with its group, "keys rotate"
	needs   string // what must be given
	options string // " [flags]" where there are flags beside it
	about   string // one line
	more    string // what else a user should know
	example string
	run     func(*env, *flags) error
}

// short is the command with what must be given.
func (c command) short() string {
	if strings.Contains(c.options, "TICKET") {
		return c.name + c.needs + " TICKET"
	}
	return c.name + c.needs
}

// commands are in the order in which somebody meets them; an empty one parts groups.
func commands() []command {
	const each = "With - in place of TICKET: one ticket a line on standard input, one answer a line on standard output."
	return []command{
		{name: "demo", options: " [flags]", run: demo,
			about:   "show it at work on a page of its own",
			more:    "It gives a ticket to whoever asks, so it listens on this machine alone unless told otherwise. Ctrl-C ends it.",
			example: "wsticket demo"},
		{},
		{name: "mint", needs: " -keys FILE -sub S", options: " [flags]", run: mint,
			about:   "write a ticket",
			example: "wsticket mint -keys keyring.json -sub alice -aud chat -origin https://app.example"},
		{name: "verify", needs: " -keys FILE", options: " [flags] TICKET|-", run: verify,
			about:   "check a ticket without spending it",
			more:    "It writes the claims of the ticket. Exit code 1 when it is refused, with the code and the reason on standard error. Bindings to origin, path and address count when one of -origin, -path and -ip is given; the others are then what the handshake does not show. Single use is not checked. " + each,
			example: "wsticket mint -keys keyring.json -sub alice | wsticket verify -keys keyring.json -"},
		{name: "explain", needs: " -keys FILE", options: " [flags] TICKET|-", run: explain,
			about:   "say why a ticket is refused",
			more:    "It says what to change, and names every rule that the ticket breaks, where a gateway stops at the first. Exit code 0 when the ticket is accepted, 1 when not. It knows nothing of single use, and takes the bindings as verify does. " + each,
			example: "wsticket explain -keys keyring.json -aud chat -origin https://app.example \"$TICKET\""},
		{name: "inspect", options: " [flags] TICKET|-", run: inspectTicket,
			about:   "show what a ticket says, unchecked",
			more:    "It needs no key, and nothing that it shows is verified. Of a text that is no ticket it shows what can be read, and the first fault of each part. " + each,
			example: "wsticket inspect \"$TICKET\""},
		{},
		{name: "keys generate", options: " [flags]", run: keysGenerate,
			about:   "make a keyring with a new key",
			more:    "It goes to standard output. In Windows PowerShell, where > writes UTF-16, end the line with: | Out-File -Encoding ascii keyring.json",
			example: "(umask 077; wsticket keys generate > keyring.json)"},
		{name: "keys import", needs: " -secret-file FILE", options: " [-kid K] [flags]", run: keysImport,
			about: "make a keyring of a secret you have",
			more: "All who share a secret must take the same bytes for it. Without -encoding the bytes of the file are the secret, but for the line break at the end of a text, " +
				"and a file that could mean something else is refused.",
			example: "(umask 077; wsticket keys import -secret-file secret.txt -kid 2026-old -encoding base64 > keyring.json)"},
		{name: "keys rotate", needs: " -keys FILE", options: " [flags]", run: keysRotate,
			about: "add a key, retire the one that signs",
			more: "Keys that have expired are dropped. The file is replaced at once, and its owner, group and the group's right to read stay. The old key ends activate-in + max-ttl + leeway + 10s from now. " +
				"Give the longest TTL and leeway that any signer or verifier of this keyring has: with less, there is a time in which no key signs.",
			example: "wsticket keys rotate -keys keyring.json -activate-in 5m"},
		{name: "keys revoke", needs: " -keys FILE -kid K", run: keysRevoke,
			about:   "take a key out at once",
			more:    "With it goes every ticket that it signed, on each node as soon as that has loaded the file. It refuses to take out the last key that signs: then rotate with -activate-in 0s first.",
			example: "wsticket keys revoke -keys keyring.json -kid 2026-11-21-pq3xk7ab"},
		{name: "keys list", needs: " -keys FILE", options: " [flags]", run: keysList,
			about:   "show the keys, never a secret",
			example: "wsticket keys list -keys keyring.json"},
		{name: "keys fingerprint", needs: " -keys FILE", options: " [flags]", run: keysFingerprint,
			about: "show digests to compare nodes by",
			more: "Nodes that show the same keyring digest have the same keys. A digest is 40 bits of the secret behind 100,000 rounds of PBKDF2: it may be shown to those who must not have the secrets. " +
				"In a program, Keyring.Fingerprint is the same.",
			example: "wsticket keys fingerprint -keys keyring.json"},
		{},
		{name: "version", run: version,
			about:   "show which build this is",
			example: "wsticket version"},
	}
}

func commandNamed(name string) (command, bool) {
	for _, c := range commands() {
		if c.name == name && name != "" {
			return c, true
		}
	}
	return command{}, false
}

// commandNames are the commands of a group, without its name.
func commandNames(group string) string {
	var names []string
	for _, c := range commands() {
		if name, ok := strings.CutPrefix(c.name, group); ok && name != "" {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// help explains a command, a group of commands, or all of them.
func (e *env) help(args []string) error {
	name := strings.Join(args, " ")
	if c, found := commandNamed(name); found {
		return c.run(e, newFlags(c, []string{"-h"}))
	}
	if name != "" && name != "keys" {
		return usagef("help: no such command: %q; there are %s", name, commandNames(""))
	}
	var b strings.Builder
	if name == "" {
		b.WriteString("wsticket signs and checks short-lived, single-use tickets for WebSockets.\n\n")
	}
	width := 0
	shown := slices.DeleteFunc(commands(), func(c command) bool { return !strings.HasPrefix(c.name, name) })
	for _, c := range shown {
		width = max(width, len(c.short()))
	}
	for _, c := range shown {
		if c.name == "" {
			b.WriteByte('\n')
			continue
		}
		fmt.Fprintf(&b, "  wsticket %-*s  %s\n", width, c.short(), c.about)
	}
	b.WriteString("\nFlags and an example: wsticket help COMMAND\n")
	if name == "" {
		b.WriteString("-keys - reads the keyring from standard input, unless the command changes it.\n" +
			"Exit codes: 0 all well; 1 refused, or a file that cannot be used; 2 wrong use.\n")
	}
	_, err := io.WriteString(e.stdout, b.String())
	return err
}

// helpCommand shows how to use one command, all of whose flags are defined.
func (e *env) helpCommand(f *flags) error {
	var b bytes.Buffer
	c := f.command
	fmt.Fprintf(&b, "wsticket %s%s%s\n\n", c.name, c.needs, c.options)
	wrap(&b, "", strings.ToUpper(c.about[:1])+c.about[1:]+".")
	if c.more != "" {
		b.WriteByte('\n')
		wrap(&b, "", c.more)
	}
	first := true
	f.VisitAll(func(g *flag.Flag) {
		if first {
			b.WriteByte('\n')
			first = false
		}
		kind, usage := placeholder(g), g.Usage
		if kind != "" {
			kind = " " + kind
		}
		if value := defaultOf(g); value != "" {
			usage += " (default " + value + ")"
		}
		const column = 21
		label := "  -" + g.Name + kind
		if len(label) > column-2 {
			b.WriteString(label + "\n")
			label = ""
		}
		wrap(&b, strings.Repeat(" ", column), fmt.Sprintf("%-*s%s", column, label, usage))
	})
	fmt.Fprintf(&b, "\nExample:\n  %s\n", c.example)
	_, err := e.stdout.Write(b.Bytes())
	return err
}

var placeholders = map[string]string{
	"addr": "HOST:PORT", "alg": "ALG", "at": "SECONDS", "aud": "A", "claim": "NAME=JSON", "encoding": "E", "ip": "A", "iss": "I", "keys": "FILE",
	"kid": "K", "origin": "O", "path": "P", "scope": "S", "secret-file": "FILE", "sid": "S", "sub": "S",
}

// placeholder stands for the value of a flag in its help.
func placeholder(g *flag.Flag) string {
	if name, ok := placeholders[g.Name]; ok {
		return name
	}
	if kind, _ := flag.UnquoteUsage(g); kind == "duration" {
		return "TIME"
	}
	return ""
}

// defaultOf is what a flag stands for when it is not given, or "".
func defaultOf(g *flag.Flag) string {
	if d, err := time.ParseDuration(g.DefValue); err == nil {
		return brief(d)
	}
	if g.DefValue == "false" {
		return ""
	}
	return g.DefValue
}

// wrap writes text in lines of at most 79 characters, indented from the second one on.
func wrap(b *bytes.Buffer, indent, text string) {
	const width = 79
	for len(text) > width {
		cut := strings.LastIndexByte(text[:width+1], ' ')
		if cut <= len(indent) {
			break
		}
		b.WriteString(strings.TrimRight(text[:cut], " ") + "\n")
		text = indent + text[cut+1:]
	}
	b.WriteString(text + "\n")
}
