// Command image writes a container image of vendctl as an OCI archive, without a container
// engine. Two runs with the same commit and version of Go write the same bytes.
//
//	go run ./scripts/vendctl/deploy/image -o vendctl-image.tar
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() {
	output := flag.String("o", "vendctl-image.tar", "the archive to write")
	platforms := flag.String("arch", "amd64,arm64", "the architectures")
	flag.Parse()
	if err := write(context.Background(), *output, strings.Split(*platforms, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// write writes the archive: an index with an image of each architecture.
func write(ctx context.Context, output string, architectures []string) (err error) {
	work, err := os.MkdirTemp("", "vendctl-image-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range architectures {
		image, err := build(ctx, filepath.Join(work, "vendctl-"+arch), arch)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	// Programs take an archive with one entry: the index of the architectures.
	one := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: index, Descriptor: v1.Descriptor{Annotations: map[string]string{"org.opencontainers.image.ref.name": "vendctl"}},
	})
	dir := filepath.Join(work, "layout")
	if _, err := layout.Write(dir, one); err != nil {
		return err
	}
	f, err := os.Create(output) //nolint:gosec // the user names it
	if err != nil {
		return err
	}
	return errors.Join(archive(f, dir), f.Close())
}

// build compiles the command and returns an image that holds nothing else. It runs as a user
// without a name.
func build(ctx context.Context, binary, arch string) (v1.Image, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", binary, "./scripts/vendctl") //nolint:gosec // constant
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	program, err := os.ReadFile(binary) //nolint:gosec // written above
	if err != nil {
		return nil, err
	}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	if err := errors.Join(add(w, "vendctl", 0o755, program), w.Close()); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(image, config(image, arch))
}

// config returns the configuration of an image.
func config(image v1.Image, arch string) *v1.ConfigFile {
	file, err := image.ConfigFile()
	if err != nil {
		panic("internal error: impossible: " + err.Error()) // it is in memory
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", arch, v1.Time{Time: time.Unix(0, 0).UTC()}
	file.Config = v1.Config{
		Entrypoint: []string{"/vendctl"},
		Cmd:        []string{"serve", "--local-secret-file", "/run/vendctl/local-secret"},
		User:       "65532:65532",
		Labels:     map[string]string{"org.opencontainers.image.title": "vendctl"},
	}
	return file
}

// archive writes a directory as a tar, in the order of the names.
func archive(out io.Writer, dir string) error {
	w := tar.NewWriter(out)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path) //nolint:gosec // of a directory of this process
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return add(w, filepath.ToSlash(name), 0o644, text)
	})
	return errors.Join(err, w.Close())
}

// add adds a file. Its time is constant, so that equal files are equal bytes.
func add(w *tar.Writer, name string, mode int64, text []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(text)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	_, err := w.Write(text)
	return err
}
