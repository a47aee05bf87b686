package image

import (
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

func fakeCandidate(id string, p *ocispec.Platform, refs ...string) candidate {
	d := digest.FromString(id)
	config := looked{config: digest.FromString("config of " + id)}
	if p != nil {
		config.platform = *p
	}
	return candidate{
		refs: refs, manifest: d, platform: p,
		look: func() (looked, error) { return config, nil },
		load: func() (*loaded, error) {
			img := Image{Name: id, Platform: config.platform}
			return &loaded{Image: img, layer: func(int) (io.ReadCloser, error) { return nil, ErrMissingBlob }}, nil
		},
	}
}

func linux(arch, variant string) *ocispec.Platform {
	return &ocispec.Platform{OS: "linux", Architecture: arch, Variant: variant}
}

func choose(t *testing.T, all []candidate, ref, platform string) (string, error) {
	t.Helper()
	for i := range all {
		all[i].places = []place{{i + 1, all[i].manifest}}
	}
	want, err := ImportOptions{Platform: platform}.wanted(ref)
	require.NoError(t, err)
	_, img, err := pick(all, want)
	if err != nil {
		return "", err
	}
	return img.Name, nil
}

func TestTheAskedPlatformIsTakenAndNoOther(t *testing.T) {
	all := []candidate{
		fakeCandidate("386", linux("386", "")), fakeCandidate("v6", linux("arm", "v6")), fakeCandidate("v7", linux("arm", "v7")),
		fakeCandidate("amd64", linux("amd64", "")), fakeCandidate("arm64", linux("arm64", "v8")),
	}
	for platform, want := range map[string]string{
		"linux/amd64": "amd64", "linux/arm64": "arm64", "linux/arm/v6": "v6", "linux/arm/v7": "v7", "linux/386": "386",
	} {
		got, err := choose(t, all, "", platform)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := choose(t, all, "", "linux/s390x")
	require.ErrorIs(t, err, ErrNoMatch)
	require.ErrorContains(t, err, "linux/s390x; it holds linux/386, linux/amd64, linux/arm/v6")

	_, err = choose(t, all[:1], "", "linux/amd64")
	require.ErrorIs(t, err, ErrNoMatch, "amd64 runs 386, but that was not asked for")
}

func TestTheOnlyImageIsTakenUnlessAnotherPlatformIsAskedFor(t *testing.T) {
	all := []candidate{fakeCandidate("s390x", linux("s390x", ""))}
	got, err := choose(t, all, "", "")
	require.NoError(t, err)
	require.Equal(t, "s390x", got)
	_, err = choose(t, all, "", "linux/amd64")
	require.ErrorIs(t, err, ErrNoMatch)
}

func TestSeveralImagesNeedAReference(t *testing.T) {
	all := []candidate{fakeCandidate("1", nil, "app:1"), fakeCandidate("2", nil, "docker.io/library/app:2", "x")}
	_, err := choose(t, all, "", "")
	require.ErrorIs(t, err, ErrAmbiguous)
	require.ErrorContains(t, err, "1: "+digest.FromString("1").String()+" app:1, 2: "+digest.FromString("2").String()+" docker.io/library/app:2 x")
	for ref, want := range map[string]string{"app:1": "1", "app:2": "2", "x": "2"} {
		got, err := choose(t, all, ref, "")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err = choose(t, all, "app:3", "")
	require.ErrorIs(t, err, ErrNoMatch)
	_, err = choose(t, nil, "", "")
	require.ErrorIs(t, err, ErrInvalid)
	require.NotErrorIs(t, err, ErrNoMatch, "there is nothing to choose from")
}

func TestAPlatformThatIsNoneIsRefused(t *testing.T) {
	_, err := parsePlatform("linux/amd64/v2/x/y/!")
	require.ErrorIs(t, err, ErrInvalid)
}
