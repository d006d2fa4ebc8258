package bench

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// chart draws one column of the section as bars, ours in another colour.
func (s *Section) chart() string {
	const left, right, top, row, bar, width = 330, 90, 40, 28, 17, 860
	var most float64
	for i := range s.Rows {
		if v := s.Rows[i].Value(s.Chart); !math.IsNaN(v) {
			most = max(most, v)
		}
	}
	column := s.Columns[s.Chart]
	direction := map[int]string{-1: ", less is better", 1: ", more is better"}[column.Better]
	height := top + row*len(s.Rows) + 10
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" role="img" aria-label="%s">`+"\n", width, height, html.EscapeString(s.Title))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/><text x="%d" y="22" font-weight="bold">%s%s</text>`+"\n", width, height, left, html.EscapeString(column.Name), direction)
	for i := range s.Rows {
		r := &s.Rows[i]
		y, v := top+row*i, r.Value(s.Chart)
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left-10, y+13, html.EscapeString(r.Name))
		if !math.IsNaN(v) {
			colour := "#9aa5a0"
			if r.Ours {
				colour = "#2a6f97"
			}
			long := 0.0
			if most > 0 {
				long = v / most * (width - left - right)
			}
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d">%s</text>`,
				left, y, math.Max(long, 1), bar, colour, left+long+6, y+13, column.format(v))
		}
		b.WriteString("\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}
