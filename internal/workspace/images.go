package workspace

import (
	"context"

	"github.com/hutch-project/hutch/internal/image"
)

// Images lists the images of the store, the newest first, each with the names of
// the containers made from it.
func (w *Workspace) Images() ([]ImageSummary, error) {
	images, err := w.images()
	if err != nil {
		return nil, err
	}
	used, err := w.used()
	if err != nil {
		return nil, err
	}
	list, broken := images.List()
	all := []ImageSummary{}
	for _, i := range list {
		s := ImageSummary{Image: i, Containers: used[i.Digest]}
		if s.Containers == nil {
			s.Containers = []string{}
		}
		all = append(all, s)
	}
	return all, broken
}

// An ImageSummary is an image as a list shows it.
type ImageSummary struct {
	image.Image
	Containers []string `json:"containers"` // that use its topmost layer
}

// RemoveImage removes an image that no container uses.
func (w *Workspace) RemoveImage(ctx context.Context, name string) ([]image.Image, error) {
	images, err := w.images()
	if err != nil {
		return nil, err
	}
	return images.Remove(ctx, name, w.used)
}

// PruneImages removes all images that no container uses.
func (w *Workspace) PruneImages(ctx context.Context) ([]image.Image, error) {
	images, err := w.images()
	if err != nil {
		return nil, err
	}
	return images.Prune(ctx, w.used)
}
