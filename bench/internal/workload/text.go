package workload

import "math/rand/v2"

// text makes up prose: words of a small vocabulary, so that pages compress about as
// well as those of an application do. A fixed filler would compress to nothing and make replication look cheap.
type text struct {
	rng   *rand.Rand
	words []string
	buf   []byte
}

// vocabulary is how many words there are; a power of two.
const vocabulary = 2048

func newText(src rand.Source) *text {
	t := &text{rng: rand.New(src), words: make([]string, vocabulary)}
	syllables := []string{"ka", "ro", "min", "te", "sol", "va", "ni", "per", "lu", "gra", "to", "ben", "shi", "ar", "del", "quo"}
	words := rand.New(rand.NewPCG(7, 7)) // the same vocabulary for every seed
	for i := range t.words {
		var w string
		for range 1 + words.IntN(4) {
			w += syllables[words.IntN(len(syllables))]
		}
		t.words[i] = w
	}
	return t
}

// next returns n bytes of prose.
func (t *text) next(n int) string {
	t.buf = t.buf[:0]
	for len(t.buf) < n {
		// One draw is good for five words.
		for r, i := t.rng.Uint64(), 0; i < 5 && len(t.buf) < n; i++ {
			t.buf = append(t.buf, t.words[r%vocabulary]...)
			t.buf = append(t.buf, ' ')
			r >>= 11
		}
	}
	return string(t.buf[:n])
}
