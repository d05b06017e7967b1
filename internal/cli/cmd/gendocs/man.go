package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/hutch-project/hutch/internal/cli"
	"github.com/hutch-project/hutch/internal/config"
)

// published stands on each page: fixed, so that the same program has the same
// pages whenever they are made.
var published = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

//go:embed hutchd.8.md
var hutchd []byte

// manPages are the pages by the names of their files.
func manPages() (map[string][]byte, error) {
	pages := map[string][]byte{
		"hutchd.8":     md2man.Render(append(title("hutchd", 8), hutchd...)),
		"hutch.toml.5": md2man.Render(append(title("hutch.toml", 5), settings(string(config.Reference))...)),
	}
	root := cli.Root()
	root.DisableAutoGenTag = true // it has the day in it
	return pages, verbs(root, pages)
}

// verbs adds the page of a command and of all below it.
func verbs(c *cobra.Command, pages map[string][]byte) error {
	for _, sub := range c.Commands() {
		if !sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand() {
			continue
		}
		if err := verbs(sub, pages); err != nil {
			return err
		}
	}
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	header := &doc.GenManHeader{Title: strings.ToUpper(name), Section: "1", Date: &published, Source: "hutch", Manual: manual}
	var page bytes.Buffer
	if err := doc.GenMan(c, header, &page); err != nil {
		return err
	}
	pages[name+".1"] = page.Bytes()
	return nil
}

const manual = "hutch manual"

// title is the first line of a page in md2man's form.
func title(name string, section int) []byte {
	return fmt.Appendf(nil, "%% %q %q %q \"hutch\" %q\n", strings.ToUpper(name), fmt.Sprint(section), published.Format("Jan 2006"), manual)
}

// settings makes hutch.toml(5) of the reference configuration: its comments are
// the text, its settings are shown as they may be written.
func settings(reference string) []byte {
	var page bytes.Buffer
	page.WriteString("# NAME\n\nhutch.toml - what containers are like, and how much they get\n\n# DESCRIPTION\n\n")
	blocks := strings.Split(strings.TrimSpace(reference), "\n\n")
	for i, block := range blocks {
		var code []string
		for line := range strings.Lines(block) {
			line = strings.TrimRight(line, "\n")
			text, comment := strings.CutPrefix(line, "#")
			switch {
			case comment && (text == "" || text[0] == ' '):
				page.WriteString(escape(strings.TrimPrefix(text, " ")) + "\n")
			default:
				code = append(code, strings.TrimPrefix(line, "#"))
			}
		}
		if len(code) > 0 {
			page.WriteString("\n```\n" + strings.Join(code, "\n") + "\n```\n")
		}
		page.WriteString("\n")
		if i == 0 {
			page.WriteString("# SETTINGS\n\nEach with its default.\n\n")
		}
	}
	page.WriteString("# SEE ALSO\n\n**hutch-config(1)**, **hutch(1)**\n")
	return page.Bytes()
}

// escape keeps characters that mean something in Markdown.
var escape = strings.NewReplacer("*", `\*`, "_", `\_`, "`", "\\`", "<", `\<`, "~", `\~`).Replace
