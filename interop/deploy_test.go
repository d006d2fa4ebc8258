package interop

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

// TestDeploySystemd: the unit is well formed and closed as far as docs/operating.md says;
// its limits fit the configuration beside it, which the gateway takes.
func TestDeploySystemd(t *testing.T) {
	t.Parallel()
	unit := readFile(t, "../deploy/systemd/wsticket-gateway.service")
	config := readFile(t, "../deploy/systemd/gateway.yaml")
	value := func(name string) string {
		t.Helper()
		m := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindStringSubmatch(unit)
		if m == nil {
			t.Fatalf("the unit has no %s", name)
		}
		return m[1]
	}
	files, connections := number(t, value("LimitNOFILE")), number(t, setting(t, config, "max-connections"))
	if files < 2*connections+1000 {
		t.Errorf("LimitNOFILE=%d, which is not two for each of %d connections and 1000 more", files, connections)
	}
	drain, err := time.ParseDuration(setting(t, config, "drain"))
	if err != nil {
		t.Fatal(err)
	}
	if stop := time.Duration(number(t, value("TimeoutStopSec"))) * time.Second; stop < drain+5*time.Second {
		t.Errorf("TimeoutStopSec=%v, which is not 5 s more than drain, %v", stop, drain)
	}
	if state := setting(t, config, "state"); filepath.Dir(state) != "/var/lib/"+value("StateDirectory") {
		t.Errorf("state is %s, and StateDirectory another", state)
	}
	if !strings.HasPrefix(readFile(t, "../deploy/systemd/sysusers.conf"), "# ") || !strings.Contains(readFile(t, "../deploy/systemd/sysusers.conf"), "\nu "+value("User")+" ") {
		t.Errorf("sysusers.conf does not make the user %s", value("User"))
	}
	checkConfig(t, config, nil)

	analyze := installed(t, "systemd-analyze", "apt-get install systemd", "systemd-analyze")
	file := filepath.Join(t.TempDir(), "wsticket-gateway.service")
	// The program need not be installed here, and the user neither.
	here := strings.NewReplacer("/usr/local/bin/wsticket-gateway", "/bin/true").Replace(unit)
	if err := os.WriteFile(file, []byte(here), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := exec.Command(analyze, "security", "--offline=yes", "--no-pager", file).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze security: %v\n%s", err, out)
	}
	score := regexp.MustCompile(`exposure level for .*: ([0-9.]+)`).FindStringSubmatch(string(out))
	said := regexp.MustCompile("systemd-analyze security`\\s+gives it ([0-9.]+)").FindStringSubmatch(readFile(t, "../docs/operating.md"))
	if score == nil || said == nil {
		t.Fatalf("no score in the answer or on the page:\n%s", out)
	}
	// Another version weighs a little differently.
	if got, want := decimal(t, score[1]), decimal(t, said[1]); got > want+0.3 {
		t.Errorf("the exposure level is %.1f; docs/operating.md says %.1f", got, want)
	}
}

// TestDeployContainer: what the Containerfile builds is static and needs nothing but
// itself, and runs as somebody who is not root.
func TestDeployContainer(t *testing.T) {
	slow(t) // it builds everything anew, with flags of its own
	file := readFile(t, "../deploy/container/Containerfile")
	var lines []string
	for line := range strings.Lines(file) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	known := []string{"FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
	last := ""
	for _, line := range lines {
		word, rest, _ := strings.Cut(line, " ")
		if !slices.Contains(known, word) {
			t.Errorf("unknown instruction: %s", line)
		}
		if word == "FROM" {
			last = rest
		}
	}
	if last != "scratch" {
		t.Errorf("the image is made from %q, want scratch", last)
	}
	user := regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`).FindStringSubmatch(file)
	if user == nil || user[1] == "0" || user[2] == "0" {
		t.Errorf("the user is %v, want two numbers, neither 0", user)
	}
	goVersion := regexp.MustCompile(`(?m)^FROM docker.io/library/golang:(\S+) AS build$`).FindStringSubmatch(file)
	if goVersion == nil || !strings.Contains(readFile(t, "../gateway/go.mod"), "\ngo "+goVersion[1]) {
		t.Errorf("built with Go %v, and gateway/go.mod wants another", goVersion)
	}
	stop := regexp.MustCompile(`--stop-timeout=(\d+)`).FindStringSubmatch(file)
	if stop == nil || number(t, stop[1]) < 15 { // the default of drain and a margin
		t.Errorf("--stop-timeout is %v, want 15 or more", stop)
	}
	entry := regexp.MustCompile(`(?m)^ENTRYPOINT \["(.*)"\]$`).FindStringSubmatch(file)
	if entry == nil {
		t.Fatal("no ENTRYPOINT")
	}

	// What RUN builds, built here.
	run := regexp.MustCompile(`(?m)^RUN (.*)$`).FindStringSubmatch(file)
	if run == nil {
		t.Fatal("no RUN")
	}
	root := t.TempDir()
	bin := filepath.Join(root, filepath.Dir(entry[1]))
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("sh", "-c", strings.Replace(run[1], "/out/", bin+"/", 1))
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", run[1], err, out)
	}
	program, err := elf.Open(filepath.Join(root, entry[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if libraries, err := program.ImportedLibraries(); err == nil && len(libraries) > 0 {
		t.Errorf("the program is not static, it needs %v", libraries)
	}

	t.Run("image", func(t *testing.T) { buildImage(t, file, bin, entry[1], user[1]+":"+user[2]) })

	if os.Getuid() != 0 {
		t.Skip("not root, so the program is not run in a folder of its own (chroot)")
	}
	etc := filepath.Join(root, "etc/wsticket")
	writeConfig(t, etc, "keys: /etc/wsticket/keyring.json\nupstream: http://127.0.0.1:3000\n")
	for _, path := range []string{root, etc, filepath.Join(etc, "keyring.json"), filepath.Join(etc, "gateway.yaml")} {
		// In the image it is readable to the group of the user.
		if err := os.Chown(path, 0, int(number(t, user[2]))); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("chroot", "--userspec="+user[1]+":"+user[2], root, entry[1], "check", "-config", "/etc/wsticket/gateway.yaml").CombinedOutput()
	if err != nil || string(out) != "ok\n" {
		t.Errorf("alone in a folder the program says: %s%v", out, err)
	}
}

// buildImage makes the image with buildah, but for its first stage, whose base image is in
// a registry: programs that were built here stand in for that.
func buildImage(t *testing.T, file, programs, entry, user string) {
	buildah := installed(t, "buildah", "apt-get install buildah", "buildah")
	if os.Getuid() != 0 {
		t.Skip("not root; buildah then needs more than is checked here")
	}
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		c := exec.Command(buildah, append([]string{"--storage-driver=vfs", "--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run")}, args...)...)
		c.Dir = dir
		c.Env = append(os.Environ(), "BUILDAH_ISOLATION=chroot")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("buildah %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if err := os.CopyFS(filepath.Join(dir, "out"), os.DirFS(programs)); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"ca-certificates.crt": "none here\n", "Base": "FROM scratch\nCOPY out/ /out/\nCOPY ca-certificates.crt /etc/ssl/certs/\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run("bud", "-f", "Base", "-t", "localhost/base", ".")
	var rest strings.Builder
	for line := range strings.Lines(file) {
		word, _, _ := strings.Cut(line, " ")
		switch {
		case strings.HasSuffix(line, " AS build\n"):
			line = "FROM localhost/base AS build\n"
		case word == "WORKDIR" || word == "RUN" || line == "COPY . .\n":
			continue
		}
		rest.WriteString(line)
	}
	if err := os.WriteFile(filepath.Join(dir, "Containerfile"), []byte(rest.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	run("bud", "-f", "Containerfile", "-t", "localhost/gateway", ".")
	image := run("inspect", "--type", "image", "--format", "{{.OCIv1.Config.User}} {{index .OCIv1.Config.Entrypoint 0}} {{.OCIv1.Config.StopSignal}}", "localhost/gateway")
	if want := user + " " + entry + " SIGTERM"; strings.TrimSpace(image) != want {
		t.Errorf("the image runs %q, want %q", image, want)
	}
	root := strings.TrimSpace(run("mount", strings.TrimSpace(run("from", "localhost/gateway"))))
	for _, path := range []string{entry, "/usr/local/bin/wsticket", "/etc/ssl/certs/ca-certificates.crt"} {
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			t.Errorf("not in the image: %v", err)
		}
	}
}

// TestDeployKubernetes: every member of the manifests is one that the API knows, their
// times fit each other, and the gateway takes the configuration in them.
func TestDeployKubernetes(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{"one.yaml": nil, "many.yaml": {"WSTICKET_SINGLE_USE=rediss://gateway:secret@redis.example:6380"}} {
		t.Run(name, func(t *testing.T) {
			var (
				config   corev1.ConfigMap
				pod      corev1.PodTemplateSpec
				selector map[string]string
				service  corev1.Service
				kinds    []string
			)
			for document := range strings.SplitSeq(readFile(t, "../deploy/kubernetes/"+name), "\n---\n") {
				var head struct{ Kind string }
				if err := yaml.Unmarshal([]byte(document), &head); err != nil {
					t.Fatal(err)
				}
				kinds = append(kinds, head.Kind)
				var (
					deployment appsv1.Deployment
					set        appsv1.StatefulSet
					budget     policyv1.PodDisruptionBudget
				)
				into, ok := map[string]any{"ConfigMap": &config, "Deployment": &deployment, "StatefulSet": &set, "Service": &service,
					"PodDisruptionBudget": &budget, "NetworkPolicy": &networkingv1.NetworkPolicy{}}[head.Kind]
				if !ok {
					t.Fatalf("unknown kind %q", head.Kind)
				}
				if err := yaml.UnmarshalStrict([]byte(document), into); err != nil {
					t.Fatalf("%s: %v", head.Kind, err)
				}
				switch head.Kind {
				case "Deployment":
					pod, selector = deployment.Spec.Template, deployment.Spec.Selector.MatchLabels
				case "StatefulSet":
					pod, selector = set.Spec.Template, set.Spec.Selector.MatchLabels
					if *set.Spec.Replicas != 1 {
						t.Errorf("%d pods with a memory of their own under one name", *set.Spec.Replicas)
					}
				case "PodDisruptionBudget":
					if labels := budget.Spec.Selector.MatchLabels; labels["app"] != selector["app"] {
						t.Errorf("the budget is for %v", labels)
					}
				}
			}
			if slices.Contains(kinds, "Deployment") != slices.Contains(kinds, "PodDisruptionBudget") {
				t.Errorf("kinds: %v", kinds)
			}
			if pod.Labels["app"] != selector["app"] || service.Spec.Selector["app"] != selector["app"] {
				t.Errorf("labels %v, selectors %v and %v", pod.Labels, selector, service.Spec.Selector)
			}
			c := pod.Spec.Containers[0]
			text := config.Data["gateway.yaml"]
			drain, err := time.ParseDuration(setting(t, text, "drain"))
			if err != nil {
				t.Fatal(err)
			}
			grace := time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second
			if c.Lifecycle != nil {
				drain += time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
			}
			if grace < drain+5*time.Second {
				t.Errorf("terminationGracePeriodSeconds is %v, which is not 5 s more than preStop and drain, %v", grace, drain)
			}
			for path, probe := range map[string]*corev1.Probe{"/readyz": c.ReadinessProbe, "/livez": c.LivenessProbe} {
				if probe == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.StrVal != "admin" {
					t.Errorf("the probe of %s is %v", path, probe)
				}
			}
			for _, port := range c.Ports {
				if want := map[string]string{"ws": "listen", "admin": "admin"}[port.Name]; setting(t, text, want) != ":"+strconv.Itoa(int(port.ContainerPort)) {
					t.Errorf("port %s is %d, and %s another", port.Name, port.ContainerPort, want)
				}
			}
			s := c.SecurityContext
			if !*pod.Spec.SecurityContext.RunAsNonRoot || !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Error("the pod may do more than it needs")
			}
			// The keyring is a secret, in a folder that follows it.
			mounted := false
			for _, v := range pod.Spec.Volumes {
				for _, m := range c.VolumeMounts {
					mounted = mounted || v.Name == m.Name && v.Secret != nil && m.SubPath == "" && m.MountPath == filepath.Dir(setting(t, text, "keys"))
				}
			}
			if !mounted {
				t.Error("the keyring does not come from a secret that is mounted as a folder")
			}
			checkConfig(t, text, env)
		})
	}
}

// checkConfig puts a configuration and the files that it names into a folder, and has
// wsticket-gateway check it.
func checkConfig(t *testing.T, config string, env []string) {
	t.Helper()
	dir := t.TempDir()
	config = strings.NewReplacer("/etc/wsticket", dir, "/var/lib/wsticket-gateway", dir).Replace(config)
	writeConfig(t, dir, config)
	for _, m := range regexp.MustCompile(`(?m)^(keys|admin-token-file): (\S+)`).FindAllStringSubmatch(config, -1) {
		content := readFile(t, filepath.Join(dir, "keyring.json"))
		if m[1] == "admin-token-file" {
			content = strings.Repeat("0123456789abcdef", 4)
		}
		if err := os.MkdirAll(filepath.Dir(m[2]), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(m[2], []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := exec.Command(gatewayProgram(t), "check", "-config", filepath.Join(dir, "gateway.yaml"))
	check.Env = append(os.Environ(), env...)
	if out, err := check.CombinedOutput(); err != nil || string(out) != "ok\n" {
		t.Errorf("wsticket-gateway check: %v\n%s", err, out)
	}
}

var builtGateway struct {
	once sync.Once
	text []byte
	err  error
}

// gatewayProgram builds wsticket-gateway once, beside wsticket.
func gatewayProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(command(t)), "wsticket-gateway")
	builtGateway.once.Do(func() {
		build := exec.Command("go", "build", "-o", path, "./cmd/wsticket-gateway")
		build.Dir = "../gateway"
		builtGateway.text, builtGateway.err = build.CombinedOutput()
	})
	if builtGateway.err != nil {
		t.Fatalf("wsticket-gateway does not build: %v\n%s", builtGateway.err, builtGateway.text)
	}
	return path
}

// writeConfig writes gateway.yaml and a keyring.json into a folder.
func writeConfig(t *testing.T, dir, config string) {
	t.Helper()
	keyring, err := exec.Command(command(t), "keys", "generate").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"gateway.yaml": config, "keyring.json": string(keyring)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// setting reads one line of a configuration.
func setting(t *testing.T, config, key string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^\s*` + key + `: (\S+)`).FindStringSubmatch(config)
	if m == nil {
		t.Fatalf("the configuration has no %s", key)
	}
	return m[1]
}

func number(t *testing.T, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func decimal(t *testing.T, text string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
