package display

import (
	"context"
	"errors"
	"fmt"
	"image"
	"time"

	"github.com/hutch-project/hutch/internal/desktop"
)

// Screenshot takes, as the person, a picture of a display's first screen. Screens
// of 24 bits, with four bytes a pixel, are all it knows.
func Screenshot(ctx context.Context, d desktop.Display) (image.Image, error) {
	const timeout = 20 * time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client, err := open(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("display %s: %w", d.Address, err)
	}
	defer client.Close()
	if len(client.Server.Screens) == 0 || client.Server.Screens[0].Depth != 24 {
		return nil, fmt.Errorf("display %s: %w", d.Address, errors.New("the first screen has not 24 bits a pixel"))
	}
	screen := client.Server.Screens[0]
	pixels, err := client.RootImage(screen, timeout)
	if err != nil {
		return nil, fmt.Errorf("display %s: %w", d.Address, err)
	}
	picture := image.NewRGBA(image.Rect(0, 0, int(screen.Width), int(screen.Height)))
	for i := 0; i+3 < len(picture.Pix); i += 4 {
		picture.Pix[i], picture.Pix[i+1], picture.Pix[i+2], picture.Pix[i+3] = pixels[i+2], pixels[i+1], pixels[i], 0xFF
	}
	return picture, nil
}
