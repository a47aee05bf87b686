package image

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/tar"
)

func TestAVerifierEndsWellOnlyOnTheRightContent(t *testing.T) {
	body := bytes.Repeat([]byte("content "), 1000)
	for name, c := range map[string]struct {
		desc ocispec.Descriptor
		is   error
	}{
		"right":         {ocispec.Descriptor{Digest: digest.FromBytes(body), Size: 8000}, nil},
		"right, sha512": {ocispec.Descriptor{Digest: digest.SHA512.FromBytes(body), Size: 8000}, nil},
		"wrong digest":  {ocispec.Descriptor{Digest: digest.FromString("x"), Size: 8000}, ErrDigest},
		"too long":      {ocispec.Descriptor{Digest: digest.FromBytes(body), Size: 7999}, ErrDigest},
		"too short":     {ocispec.Descriptor{Digest: digest.FromBytes(body), Size: 8001}, ErrDigest},
	} {
		t.Run(name, func(t *testing.T) {
			for _, src := range []io.Reader{bytes.NewReader(body), iotest.OneByteReader(bytes.NewReader(body)), iotest.DataErrReader(bytes.NewReader(body))} {
				var sink bytes.Buffer
				v := newVerifier(context.Background(), src, c.desc)
				v.sink = &sink
				got, err := io.ReadAll(v)
				require.ErrorIs(t, err, c.is)
				if c.is == nil {
					require.Equal(t, body, got)
					require.Equal(t, body, sink.Bytes())
				}
				_, again := v.Read(make([]byte, 1))
				require.Error(t, again, "it stays at its end")
			}
		})
	}
}

func TestAVerifierPassesErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	desc := ocispec.Descriptor{Digest: digest.FromString("x"), Size: 100}
	_, err := io.ReadAll(newVerifier(context.Background(), iotest.ErrReader(broken), desc))
	require.ErrorIs(t, err, broken)

	v := newVerifier(context.Background(), bytes.NewReader([]byte("x")), desc)
	v.sink = failingWriter{broken}
	_, err = io.ReadAll(v)
	require.ErrorIs(t, err, broken)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = io.ReadAll(newVerifier(ctx, bytes.NewReader(nil), desc))
	require.ErrorIs(t, err, context.Canceled)
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestTheCompressionIsToldByTheFirstBytes(t *testing.T) {
	raw := makeTar(t, file{name: "a", body: "1"})
	for _, c := range []tar.Compression{tar.None, tar.Gzip, tar.Zstd} {
		packed := pack(t, raw, c)
		got, r, err := sniff(iotest.OneByteReader(bytes.NewReader(packed)))
		require.NoError(t, err)
		require.Equal(t, c, got)
		whole, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, packed, whole)
	}
	skippable := append([]byte{0x53, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0}, pack(t, raw, tar.Zstd)...)
	got, _, err := sniff(bytes.NewReader(skippable))
	require.NoError(t, err)
	require.Equal(t, tar.Zstd, got)
	for _, short := range []string{"", "a", "\x1f"} {
		got, r, err := sniff(bytes.NewReader([]byte(short)))
		require.NoError(t, err)
		require.Equal(t, tar.None, got)
		whole, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, short, string(whole))
	}
	_, _, err = sniff(iotest.ErrReader(io.ErrClosedPipe))
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

func TestTheMediaTypeMustFitTheContent(t *testing.T) {
	for mt, want := range layerTypes {
		for _, found := range []tar.Compression{tar.None, tar.Gzip, tar.Zstd} {
			err := checkPacked(mt, found)
			if found == want.packed {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, ErrMediaType)
				require.ErrorContains(t, err, found.String())
			}
		}
		require.False(t, layerTypes[want.oci].foreign, "what is written of %s can be given on", mt)
	}
	require.Len(t, layerTypes, 12)
}
