package gateway

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Source says where a value came from.
type Source string

// Loaded is a configuration with the source of each of its values.
type Loaded struct {
	Config
	File string // the -config file, or empty
	from map[string]Source
}

// Load reads a configuration: flags over the environment (WSTICKET_LISTEN, …) over the
// file over the defaults. A list in one of them replaces the list of another; within
// one, flags may be repeated and values separated by commas. environ is as of
// os.Environ. All faults of the reading are reported together; [Config.Check] finds
// the others. What could be read is returned beside the faults, as long as those are of
// single settings, so that all can be told at once. [flag.ErrHelp] means that help was asked for, and written to help.
func Load(args, environ []string, help io.Writer) (*Loaded, error) {
	l := &Loaded{Config: Default(), from: map[string]Source{}}
	given := map[string][]string{}
	set := flag.NewFlagSet("serve", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&l.File, "config", "", "read the configuration from `FILE` (YAML)")
	for _, o := range options {
		set.Func(o.name, o.about, func(value string) error {
			given[o.name] = append(given[o.name], value)
			return nil
		})
	}
	err := set.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		writeHelp(help)
		return nil, err
	}
	var faults []error
	if err != nil {
		unknown, _ := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
		faults = append(faults, fmt.Errorf("%w%s", err, suggestion(unknown)))
	} else if set.NArg() > 0 {
		faults = append(faults, fmt.Errorf("there is %q behind the flags; every setting is a flag", set.Arg(0)))
	}
	whole := len(faults) > 0 // settings were not read at all
	env := map[string]string{}
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok && (strings.HasPrefix(name, "WSTICKET_") || strings.HasPrefix(name, "OTEL_")) {
			env[name] = value
		}
	}
	if file, ok := env["WSTICKET_CONFIG"]; ok && l.File == "" {
		l.File = file
	}
	if l.File != "" {
		more, read := l.readFile()
		faults, whole = append(faults, more...), whole || !read
	}
	faults = append(faults, l.takeOTEL(env)...)
	for _, o := range options {
		if value, ok := env[envName(o.name)]; ok {
			faults = append(faults, l.take(o, []string{value}, Source("environment "+envName(o.name)))...)
		}
		if values, ok := given[o.name]; ok {
			faults = append(faults, l.take(o, values, "flag")...)
		}
	}
	switch {
	case whole:
		return nil, errors.Join(faults...)
	case len(faults) > 0:
		return l, errors.Join(faults...)
	}
	return l, nil
}

func envName(name string) string {
	return "WSTICKET_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// takeOTEL reads where traces go from the variables of OpenTelemetry. The others of
// them are read by its own packages.
func (l *Loaded) takeOTEL(env map[string]string) []error {
	name, to := "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
	if to == "" {
		if name, to = "OTEL_EXPORTER_OTLP_ENDPOINT", env["OTEL_EXPORTER_OTLP_ENDPOINT"]; to != "" {
			to = strings.TrimSuffix(to, "/") + "/v1/traces"
		}
	}
	if to == "" || env["OTEL_TRACES_EXPORTER"] == "none" {
		return nil
	}
	l.OTLP, l.from["otlp"] = to, Source("environment "+name)
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := env[name]; protocol != "" {
			if protocol != "http/protobuf" {
				return []error{fmt.Errorf("otlp (environment %s): %q is not spoken here; give http/protobuf, and the port of it, 4318", name, protocol)}
			}
			break
		}
	}
	return nil
}

func (l *Loaded) take(o option, values []string, from Source) []error {
	s := o.value(&l.Config)
	if !s.list() && len(values) > 1 {
		return []error{fmt.Errorf("%s (%s): is given %d times; give it once", o.name, from, len(values))}
	}
	if err := s.set(values); err != nil {
		if o.secret {
			err = errors.New("cannot be read")
		}
		return []error{fmt.Errorf("%s (%s): %w", o.name, from, err)}
	}
	l.from[o.name] = from
	return nil
}

// maxConfigFile bounds the file: it is short, or it is another.
const maxConfigFile = 1 << 20

// readFile says also whether the file could be read at all.
func (l *Loaded) readFile() (faults []error, read bool) {
	info, err := os.Stat(l.File)
	if err != nil {
		return []error{fmt.Errorf("config: %w", err)}, false
	}
	if !info.Mode().IsRegular() || info.Size() > maxConfigFile {
		return []error{fmt.Errorf("config: %s is no regular file of at most %d bytes", l.File, maxConfigFile)}, false
	}
	content, err := os.ReadFile(l.File)
	if err != nil {
		return []error{fmt.Errorf("config: %w", err)}, false
	}
	var document yaml.Node
	documents := yaml.NewDecoder(bytes.NewReader(content))
	if err := documents.Decode(&document); err == io.EOF {
		return nil, true // an empty file
	} else if err != nil {
		return []error{fmt.Errorf("config: %s: %w", l.File, err)}, false
	}
	if err := documents.Decode(new(yaml.Node)); err != io.EOF {
		return []error{fmt.Errorf("config: %s: holds more than one document; put all settings into one, without lines of ---", l.File)}, false
	}
	mapping := document.Content[0]
	if mapping.Kind != yaml.MappingNode {
		return []error{fmt.Errorf("config: %s: want lines of the form key: value", l.File)}, false
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		where := Source(fmt.Sprintf("%s:%d", l.File, key.Line))
		o := slices.IndexFunc(options, func(o option) bool { return o.name == key.Value })
		switch {
		case o < 0:
			faults = append(faults, fmt.Errorf("%s: there is no setting %q%s", where, key.Value, suggestion(key.Value)))
			continue
		case seen[key.Value]:
			faults = append(faults, fmt.Errorf("%s: %s is given twice", where, key.Value))
			continue
		}
		seen[key.Value] = true
		values, err := scalars(value, options[o].value(&l.Config).list())
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %s: %w", where, key.Value, err))
			continue
		}
		faults = append(faults, l.take(options[o], values, where)...)
	}
	return faults, true
}

func scalars(value *yaml.Node, list bool) ([]string, error) {
	switch {
	case value.Kind == yaml.ScalarNode && value.Tag == "!!null":
		return []string{""}, nil
	case value.Kind == yaml.ScalarNode:
		return []string{value.Value}, nil
	case value.Kind == yaml.SequenceNode && list:
		all := []string{}
		for _, item := range value.Content {
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
				return nil, errors.New("want a list of texts")
			}
			all = append(all, item.Value)
		}
		return all, nil
	case list:
		return nil, errors.New("want a text or a list of texts")
	}
	return nil, errors.New("want one value")
}

// suggestion names the setting that a slip may have meant.
func suggestion(name string) string {
	bare := func(s string) string {
		return strings.TrimSuffix(strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s)), "s")
	}
	for _, o := range options {
		if bare(o.name) == bare(name) {
			return "; did you mean " + o.name + "?"
		}
	}
	return ""
}

// Print writes what is in force and where each value came from, as YAML, with
// secrets redacted.
func (l *Loaded) Print(w io.Writer) error {
	var out strings.Builder
	for _, o := range options {
		s := o.value(&l.Config)
		shown := s.show()
		if o.secret {
			shown = withoutPassword(shown)
		}
		from := l.from[o.name]
		if from == "" {
			from = "default"
		}
		value := yamlText(shown)
		if _, ok := s.(number); ok {
			value = shown
		}
		if s.list() {
			var items []string
			for _, item := range *s.(texts).p {
				items = append(items, yamlText(item))
			}
			value = "[" + strings.Join(items, ", ") + "]"
		}
		fmt.Fprintf(&out, "%-40s # %s\n", o.name+": "+value, from)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func yamlText(s string) string {
	text, err := yaml.Marshal(s)
	if err != nil {
		return `""`
	}
	return strings.TrimSpace(string(text))
}

// withoutPassword redacts the password in a URL, or the whole where it cannot be
// found.
func withoutPassword(text string) string {
	if text == "" || text == "local" {
		return text
	}
	u, err := url.Parse(text)
	if err != nil {
		return "redacted"
	}
	if u.RawQuery != "" {
		u.RawQuery = "redacted"
	}
	return u.Redacted()
}

func writeHelp(w io.Writer) {
	fmt.Fprintln(w, `wsticket-gateway serve [flags]

Takes WebSocket handshakes, lets in who brings a ticket, and hands the connection
on to a backend. Each flag is also a key of the -config file, and a variable of the
environment: -max-ttl is max-ttl and WSTICKET_MAX_TTL. A flag counts before the
environment, and that before the file.

  wsticket-gateway serve -keys keyring.json -upstream http://127.0.0.1:3000 \
      -mint-auth http://127.0.0.1:3000/me -origin https://app.example

  -config FILE
        read the configuration from FILE (YAML)`)
	defaults := Default()
	for _, o := range options {
		name, about := unquote(o.about)
		s := o.value(&defaults)
		if shown := s.show(); shown != "" && shown != "0" {
			about += " (default " + shown + ")"
		}
		if s.list() {
			about += "; may be repeated"
		}
		fmt.Fprintf(w, "  -%s %s\n        %s\n", o.name, name, about)
	}
}

// unquote takes the name of the value out of the text, in which it stands in back quotes.
func unquote(about string) (name, text string) {
	before, rest, _ := strings.Cut(about, "`")
	name, after, _ := strings.Cut(rest, "`")
	if name == "" {
		return "LIST", about
	}
	if strings.Contains(name, "|") {
		return name, before + after // what to write, which the text explains
	}
	return strings.ToUpper(name), before + name + after
}
