import sys; sys.path.insert(0, "/root/h/files/book1")
from build import Book
b = Book("notebooks/00_autoencoders.ipynb", "c")
b.md(r'''
# 00 · Codes and autoencoders: where learned compression begins

**The question.** A file is a string of bits. How few bits can a sequence of symbols take, and how good is an image
codec whose networks make the symbols without knowing what each will cost?

Nothing is assumed but a little probability. The first half builds a code in twenty lines. The second half puts it
behind autoencoders, as three student reports did that we reproduce, and measures what those codecs lacked. The rest of
the book supplies it.
''')
b.md('''
**Parameters.** papermill replaces them: `papermill notebooks/00_autoencoders.ipynb out.ipynb -p dataset kodak`.
''')
b.code('''
dataset = "embedded"  # embedded, kodak, or a folder of pictures
measured = ""  # folder of measurements (python -m codec_lib.evaluation.measurements); empty to measure now
figures = "build/figures"  # where figures and tables go
''', "parameters")
b.code('''
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

import codec_lib
from codec_lib import datasets, images, metrics, tables
from codec_lib.coding import symbol_streams
from codec_lib.coding.compressor import entropy
from codec_lib.coding.huffman import Huffman
from codec_lib.evaluation import classical, complexity, evaluation, inspection, measurements, plotting
from codec_lib.networks import autoencoders, quantization
from codec_lib.weights import weight_files

paths = datasets.open_pictures(dataset)
photos = [images.read_image(path)[0] for path in paths]
dataset_name = Path(dataset).name
''', "setup")
b.md(r'''
## What a code is

A code gives each symbol a *word* of bits, and a message is its words in a row. To know where one word ends, the decoder
needs a code in which no word begins another. Such words compete for room: a word of $\ell$ bits is the beginning of a
share $2^{-\ell}$ of all bit strings, and the shares can add up to 1 at most. So every code is a set of opinions
$q = 2^{-\ell}$ about how probable each symbol is, and a symbol believed to have probability $q$ costs $-\log_2 q$ bits.

If the symbols really occur with probability $p$, the mean cost is smallest when $q = p$. That minimum is the *entropy*

$$H(p) = \sum_s p(s)\,\log_2\frac{1}{p(s)}.$$

With any other opinion a symbol costs $\sum_s p(s) \log_2 \frac{p(s)}{q(s)}$ more. This excess, never negative, is the
*Kullback-Leibler divergence* $D_{\mathrm{KL}}(p\,\|\,q)$: the price of a wrong model. Three opinions about four symbols:
''')
b.code('''
p = np.array([0.5, 0.25, 0.125, 0.125])
opinions = {"right": p, "all alike": np.full(4, 0.25), "upside down": p[::-1]}
rows = []
for name, q in opinions.items():
    lengths = " ".join(f"{bits:.0f}" for bits in -np.log2(q))
    excess = (p * np.log2(p / q)).sum()
    rows.append({"opinion": name, "bits of each word": lengths, "mean": -(p * np.log2(q)).sum(), "excess": excess})
print(tables.to_text(rows))
''')
b.md(r'''
The right opinion reaches the entropy, 1.75 bits, exactly, because these probabilities are powers of two. Real ones are
not, and a word has whole bits.

## Whole bits: Huffman

The best code with a word for each symbol is the *Huffman code*: join the two least probable symbols into one, again
and again, and every joint adds a bit to the words below it. Its weakness shows when a symbol is very probable: no word
is shorter than one bit.
''')
b.code('''
rows = []
for likely in (0.5, 0.7, 0.9, 0.99):
    rest = 1000 - round(1000 * likely)
    message = np.repeat([0, 1, 2], [1000 - rest, rest - rest // 3, rest // 3])
    words = Huffman.from_sequence(message, 3).codes
    mean = np.mean([len(words[s]) for s in message])
    rows.append({"p of the likeliest": likely, "words": " ".join(words), "Huffman": mean, "entropy": entropy(message)})
print(tables.to_text(rows, digits=2))
''')
b.md(r'''
At $p = 0.99$ the code spends a whole bit on a symbol that is worth 0.014 bits, and needs a dozen times the entropy.

## Fractions of a bit: arithmetic coding

*Arithmetic coding* gives the whole message one word. It keeps an interval, at first $[0, 1)$. Each symbol cuts the
interval into parts as wide as the symbols are probable, and its own part is the next interval. In the end the width is
the product of all probabilities, and any number inside names the message. About $-\log_2(\text{width})$ binary digits
are enough for one, which is the sum of the ideal costs.
''')
b.code('''
p = [Fraction(7, 10), Fraction(2, 10), Fraction(1, 10)]  # of the symbols a, b and c
figure = plotting.nested_intervals([float(x) for x in p], [0, 1, 0, 0], "abc")
plotting.save(figure, "00_arithmetic_coding", figures)
plotting.show()
''')
b.md('''
The message *abaa*, from top to bottom: each row is the shaded part of the row above, enlarged. In code, with exact
fractions, a coder and its decoder are these twenty lines:
''')
b.code('''
def narrow(low, width, symbol, p):
    """The part of [low, low + width) that is the symbol's."""
    return low + width * sum(p[:symbol]), width * p[symbol]


def encode(message, p):
    low, width = Fraction(0), Fraction(1)
    for symbol in message:
        low, width = narrow(low, width, symbol, p)
    bits = 0
    while math.ceil(low * 2**bits) + 1 > (low + width) * 2**bits:  # until all that begins with the word is inside
        bits += 1
    return f"{math.ceil(low * 2**bits):0{bits}b}" if bits else ""
'''.replace('\n\n\n', '\n\n\n'))
b.code('''
def decode(word, count, p):
    point = Fraction(int(word or "0", 2), 2 ** len(word))
    low, width, message = Fraction(0), Fraction(1), []
    for _ in range(count):
        parts = [narrow(low, width, symbol, p) for symbol in range(len(p))]
        symbol = max(s for s in range(len(p)) if parts[s][0] <= point)  # the part that the point lies in
        low, width = parts[symbol]
        message.append(symbol)
    return message
''')
b.md('''
Step through it: the width shrinks by the probability of each symbol, so likely symbols cost little.
''')
b.code('''
message, low, width = [0, 1, 0, 0], Fraction(0), Fraction(1)
for symbol in message:
    low, width = narrow(low, width, symbol, p)
    print(f"{'abc'[symbol]}: [{float(low):.4f}, {float(low + width):.4f}), ideal {-math.log2(width):.2f} bits so far")
word = encode(message, p)
print("word", word, "=", float(Fraction(int(word, 2), 2 ** len(word))))
print("decoded:", "".join("abc"[s] for s in decode(word, 4, p)))
''')
b.md(r'''
Four symbols waste most of a bit each on the rounding at the end. A long message pays that rounding once, so its bits per
symbol come down to the entropy, even where a Huffman code is stuck at one bit:
''')
b.code('''
rng = np.random.default_rng(0)
p = [Fraction(95, 100), Fraction(4, 100), Fraction(1, 100)]
q = np.array(p, float)
message = rng.choice(3, 1000, p=q).tolist()
word = encode(message, p)
assert decode(word, len(message), p) == message
words = Huffman.from_sequence(np.array(message), 3).codes
bits = {"ideal": -np.log2(q[message]).sum(), "arithmetic": len(word), "Huffman": sum(len(words[s]) for s in message)}
print(tables.to_text([{"code": name, "bits per symbol": n / len(message)} for name, n in bits.items()]))
''')
b.md(r'''
Fractions grow with the message, so practical coders keep integers of fixed size and send leading digits as soon as they
are certain. That costs next to nothing (notebook 02). What remains is the question of the whole book: **where do the
probabilities come from?** A coder can count symbols as it goes, which is *adaptive* coding. It can be handed a table.
Or a network can predict them.

## Autoencoders with a quantiser

The three reports left that question out. A network $g_a$, the encoder, turns a picture $x$ into fewer numbers $f$;
another, $g_s$, turns them back. Between the two the numbers are rounded:

```
x ──g_a──> f in [0, 1] ──round(2^B f)──> symbols 0..2^B ──lossless code──> file
x̂ <──g_s── f̂ = symbols / 2^B <─────────────────────────────────────────────┘
```

Training ignores symbol probabilities; alphabet and latent size bound the rate. With $n$ symbols for each pixel that bound
is $n \log_2(2^B + 1)$ bits per pixel (bpp). Why $2^B + 1$ values and not $2^B$? Rounding $2^B f$ gives whole numbers from
0, at $f = 0$, to $2^B$, at $f = 1$: both ends count, as a fence has one post more than gaps. The reports' formula has
this extra value, so "B bits" is a little more than B bits: with B = 1 there are three values, or 1.58 bits.
''')
b.md('''
### The networks

Five are small, with 16 numbers for each 8x8 pixels (one of them with a vector of 128 for each 128x128). ResNet-18 has 512
or 128 numbers for each 32x32, as in the second and the third report. Its layers come from the library `transformers`;
ours have half the widths and were trained from scratch on two CPU cores.
''')
b.code('''
sizes = []
for name, B in [(n, b) for n in autoencoders.AUTOENCODERS for b in weight_files.available(n)]:
    network = codec_lib.load(name, B).network
    density, whole = network.size.C / network.downscale**2, complexity.parameters(network)
    row = {"model": name, "B": B, "parameters": whole, "of g_a": complexity.parameters(network.g_a)}
    sizes.append(row | {"symbols per pixel": density, "largest bpp": density * np.log2(2**B + 1)})
plotting.save_table(sizes, "00_networks", figures)
print(tables.to_text(sizes))
''')
b.md('''
### One photograph, step by step

The symbols of the strided autoencoder at B = 2: five values, 0 to 4, in 16 channels. Eight of them:
''')
b.code('''
frozen = codec_lib.load("ae-strided", 2)
pixels = photos[0]
symbols = frozen.analyse(pixels)  # int32 (C, H/8, W/8)
titles = [f"channel {c}" for c in range(8)]
figure = plotting.channel_grid([s / 4 for s in symbols[:8]], titles, columns=4, label="f rounded to quarters")
plotting.save(figure, f"00_symbols_{dataset_name}", figures)
plotting.show()
''')
b.code('''
files = []
for coder in frozen.coders:
    data = frozen.encode(pixels, coder)
    assert np.array_equal(frozen.decode(data), frozen.predict(pixels)[0])
    files.append({"lossless coder": coder, "bpp": metrics.bpp(len(data), pixels)})
ideal = entropy(symbols) * symbols.size / 8
files.append({"lossless coder": "entropy of the symbols' shares", "bpp": metrics.bpp(ideal, pixels)})
print(tables.to_text(files, digits=2))
''')
b.md('''
The Huffman code of this photograph, which its file carries in front. (The second report kept it in a JSON file of its
own: `--state FILE.json` on the command line.)
''')
b.code('''
counts = np.bincount(symbols.ravel(), minlength=5)
codes = Huffman.from_sequence(symbols.ravel(), 5).codes
share = counts / counts.sum()
print("symbol  share  ideal bits  code")
for s in range(5):
    print(f"{s:6}  {share[s]:5.2f}  {-np.log2(share[s]):10.1f}  {codes[s]}")
''')
b.md(r'''
The five values are used almost equally often. No training pressure made some of them rare, so no code can save much.

### Every variant, from files

All pictures, encoded to files with the adaptive coder and decoded from them. Beside each is JPEG at the lowest quality
whose file has no fewer bits. Quality is measured twice. *PSNR* is the squared error on a logarithmic scale,
$-10 \log_{10} \mathrm{MSE}$ in decibel for pixels in $[0, 1]$. *MS-SSIM* compares means, contrasts and structure of
small windows at five resolutions instead of single pixels; 1 is a perfect copy, and it follows what people see more closely.
''')
b.code('''
table = []
for model, B in [(row["model"], row["B"]) for row in sizes]:
    frozen = codec_lib.load(model, B)
    rows = measurements.pictures(frozen, dataset, None, measured, progress=False)
    assert all(row["exact"] for row in rows)
    jpeg = evaluation.summary(classical.jpeg_beside(rows, paths))
    means = {"model": model} | evaluation.summary(rows) | {"JPEG bpp": jpeg["bpp"], "JPEG psnr": jpeg["psnr"]}
    table.append(means | {"parameters": complexity.parameters(frozen.network)})
plotting.save_table(table, f"00_autoencoders_{dataset_name}", figures)
shown = {"bpp": 2, "psnr": 1, "ms_ssim": 2, "B": 0, "JPEG bpp": 2, "JPEG psnr": 1}
print(tables.to_text(table, ["model", *shown], digits=shown))
''')
b.code('''
# NBVAL_IGNORE_OUTPUT
times = [{"model": r["model"], "B": r["B"], "encode [s]": r["time(enc)"], "decode [s]": r["time(dec)"]} for r in table]
plotting.save_table(times, f"00_times_{dataset_name}", figures)
print(tables.to_text(times, digits={"encode [s]": 2, "decode [s]": 2, "B": 0}))
''')
b.md('''
All lose to JPEG at the same size, as the reports' did. The transforms differ in size and training, so this table ranks
codecs as they are, not ideas; the comparisons below change one thing at a time.

## Huffman or adaptive arithmetic coding?

Bits per symbol over all pictures, the coders' tables, lengths and endings included. *Order 0* is the entropy of how often
each symbol occurs in a picture: the least for a code that knows only that.
''')
b.code('''
coding = []
for model, B in [("ae-strided", 2), *(("ae-resnet18", B) for B in (1, 2, 4, 10))]:
    frozen = codec_lib.load(model, B)
    sequences = [frozen.analyse(p).ravel() for p in photos]
    n = sum(len(s) for s in sequences)
    row = {"model": model, "B": B, "order 0": sum(entropy(s) * len(s) for s in sequences) / n}
    for coder in frozen.coders:
        row[coder] = sum(8 * len(symbol_streams.pack(coder, s, 2**B + 1)) for s in sequences) / n
    coding.append(row)
plotting.save_table(coding, f"00_lossless_{dataset_name}", figures)
print(tables.to_text(coding, digits={"B": 0, "order 0": 2, "adaptive": 2, "huffman": 2}))
''')
b.code('''
assert all(row["adaptive"] < 1.02 * row["order 0"] and row["huffman"] < row["order 0"] + 1 for row in coding)
for coder in ("huffman", "adaptive"):
    excess = [100 * (row[coder] / row["order 0"] - 1) for row in coding]
    print(f"{coder:8} from {min(excess):+.0f} to {max(excess):+.0f} % against order 0")
''')
b.md('''
The adaptive coder comes out *below* the entropy. That is no miracle: the entropy here belongs to a model that has one
table for a whole picture. The adaptive coder's counts forget, and so follow the picture from channel to channel. A
better model has a lower entropy, and this is the first sign that modelling is where the bits are.

## Stride or max-pooling? Do residual blocks help?

Three networks, trained alike: the same crops, random seed, optimiser and number of steps (`data/autoencoder_runs.csv`;
the commands are in `data/weights/README.md`). Strided convolutions have as many weights as convolutions with max-pooling
and a quarter of their work.
''')
b.code('''
history = tables.read_csv(datasets.DATA / "autoencoder_runs.csv")
runs = {name: [row for row in history if row["run"] == name] for name in {row["run"] for row in history}}
alike = {"max-pooling": "maxpool2", "stride": "strided2", "stride and residual blocks": "residual2"}
figure = plotting.loss_curves({title: runs[name] for title, name in alike.items()})
plotting.save(figure, "00_training", figures)
plotting.show()
''')
b.code('''
def last_rows(titles, first="network"):
    return [{first: title} | runs[name][-1] | {"steps": runs[name][-1]["step"]} for title, name in titles.items()]


columns = ["network", "run", "optimiser", "quantiser in training", "steps", "val_bpp", "val_psnr"]
print(tables.to_text(last_rows(alike), columns, digits=2))
''')
b.md('''
Stride is ahead of max-pooling by more than a decibel, at a quarter of the encoder's work. Residual blocks bring nothing
here: the difference is a tenth of a decibel, and these are single runs, whose chance differences are as large. Residual
blocks make deep networks trainable, and three halvings are not deep.

## How to train through a quantiser

Training follows gradients, and **the gradient of rounding is zero**: a small change of $f$ changes no symbol, except at a
step, where the gradient does not exist. Two ways around:

- **Noise replaces rounding.** Rounding adds an error between $-\\frac12$ and $\\frac12$ step. So does random noise of
  that size, and $f + u$ has gradient 1. The network learns to live with errors of that size. The reports did this.
- **The *straight-through* gradient.** The decoder gets rounded values, exactly as it will in use; on the way back, the
  rounding is taken for the identity: $\\hat f = f + \\mathrm{stop}(\\mathrm{round}(f) - f)$, where nothing flows through
  $\\mathrm{stop}$. The gradient is wrong in detail and right on average.

The optimiser matters too. *Muon* makes each update of a weight matrix nearly orthogonal, so that all its directions
learn at one pace; Adam scales each weight by itself. Validation crops, equal steps, each optimiser at a learning rate
that suits it:
''')
b.code('''
ways = {"noise (the reports)": "noise2", "rounding": "strided2", "rounding, Adam": "adam2"}
columns = ["way", "optimiser", "quantiser in training", "steps", "val_bpp", "val_psnr"]
trained = [{c: row[c] for c in columns} for row in last_rows(ways, "way")]
plotting.save_table(trained, "00_ways_to_train", figures)
print(tables.to_text(trained, digits=2))
''')
b.md('''
Noise and straight-through rounding end within two tenths of a decibel, too little for single runs to decide. The optimiser
is worth far more here, where a plain network has no linear path to begin from.

## Why did the variational autoencoder fail?

A variational autoencoder makes the encoder give a mean and a variance for each number, and charges for both: the
Kullback-Leibler divergence of that Gaussian from $\\mathcal N(0, 1)$. The first report's came to 12.6 dB, which is a grey
picture, and its loss did not fall. Two causes were possible.

**The weight of the rate.** We want little distortion $D$ for few bits $R$. To minimise $D$ when $R$ may not exceed a
budget, one minimises $R + \\lambda' D$ instead; the *Lagrange multiplier* $\\lambda'$ says how many bits a unit of
distortion is worth, and each value of it is the best answer to some budget. The papers measure $D$ on the scale 0 to 255
and we have pixels in $[0, 1]$, hence the factor of $255^2$ in the loss of this book:

$$L = \\lambda\\, 255^2\\, \\mathrm{MSE} + R.$$

The textbook variational loss (a Gaussian of variance 1 for pixels in $[0, 1]$), divided by the pixels and put into bits, is
$\\frac{3}{2 \\ln 2} \\mathrm{MSE} + R$, so $\\lambda = 3 / (2 \\ln 2 \\cdot 255^2) = 3.3 \\cdot 10^{-5}$. That is two hundred
times less than the lowest rate point of notebook 02: hardly any detail is worth its bits.

**A vector instead of a map.** Fully connected layers fix the size of the picture, and 128 numbers for 16,384 pixels
cannot hold it, whatever the weight. Validation crops, B = 4; `val_bpp` is the entropy of the symbols:
''')
b.code('''
cases = {"vae-textbook": "map", "vae-high": "map", "vector": "vector"}
columns = ["run", "latent", "lmbda", "steps", "val_bpp", "val_psnr"]
failures = [{c: (row | {"latent": cases[row["run"]]})[c] for c in columns}
            for row in last_rows({name: name for name in cases})]  # fmt: skip
plotting.save_table(failures, "00_variational", figures)
print(tables.to_text(failures, columns, digits={"lmbda": 6, "val_bpp": 2, "val_psnr": 1}))
''')
b.md('''
Both causes are real. With the textbook weight most numbers collapse to the prior and carry nothing. With a rate point's
weight a map works; a vector does not. (The vector needs crops of 128 pixels where the others had 64, and had fewer
steps; but its curve had long gone flat, and twelve decibels are not a matter of crops.)

Quantising costs once more. The files hold rounded means; nothing in training knew of a quantiser:
''')
b.code('''
means = []
for model in ("ae-vae", "ae-vector"):
    network, row = codec_lib.load(model, 4).network, next(r for r in table if r["model"] == model)
    exact = inspection.mean_psnr(photos, lambda x, n=network: 0.5 + n.g_s(n.posterior(x)[0]), network.downscale)
    means.append({"model": model, "bpp": row["bpp"], "psnr of files": row["psnr"], "psnr of the means": exact})
plotting.save_table(means, f"00_means_{dataset_name}", figures)
print(tables.to_text(means, digits={"bpp": 2, "psnr of files": 1, "psnr of the means": 1}))
''')
b.md('''
The vector loses most: with so few numbers the encoder pushes them far out, where the quantiles of the prior no longer
tell them apart.
''')
b.code('''
k = next(k for k, path in enumerate(paths) if path.stem in ("chelsea", "kodim23") or k == len(paths) - 1)
shown, titles = [photos[k]], ["original\\n"]
for model, B in [("ae-strided", 2), ("ae-vae", 4), ("ae-vector", 4)]:
    data = codec_lib.load(model, B).encode(photos[k])
    shown.append(codec_lib.load(model, B).decode(data))
    titles.append(f"{model}\\n{metrics.bpp(len(data), photos[k]):.2f} bpp, {metrics.psnr(photos[k], shown[-1]):.1f} dB")
height, width = photos[k].shape[:2]
figure = plotting.image_row(shown, titles, (width // 3, height // 4, width // 4, height // 4))
plotting.save(figure, f"00_variational_{dataset_name}", figures)
plotting.show()
''')
b.md('''
The step from the variational autoencoder to notebook 02 is small: uniform noise in place of the learned variance, and a
learned density, which then also codes the symbols, in place of the normal one.

## ResNet-18 with B bits

The second report measured 28.6 to 29.1 dB at 0.50 bpp (B = 1) and 29.2 and 31.6 dB at 1.42 bpp (B = 4) on three pictures
of its own. They cannot be published, so only the distance to JPEG at the same size compares.
''')
b.code('''
resnet = [row for row in table if row["model"] == "ae-resnet18"]
compared = [{"what": f"here, B = {row['B']:.0f}"} | {c: row[c] for c in ("bpp", "psnr", "JPEG bpp", "JPEG psnr")}
            for row in resnet]  # fmt: skip
for r in tables.read_csv(datasets.DATA / "reported_autoencoders.csv"):
    row = {"what": f"second report, B = {r['B']}, picture {r['picture']}", "bpp": r["bpp"], "psnr": r["psnr"]}
    compared.append(row | {"JPEG bpp": r["jpeg_bpp"], "JPEG psnr": r["jpeg_psnr"]})
plotting.save_table(compared, f"00_resnet18_{dataset_name}", figures)
print(tables.to_text(compared, digits={"bpp": 2, "psnr": 1, "JPEG bpp": 2, "JPEG psnr": 1}))
''')
b.md('''
Ours stay far below the report's. Is it the quantiser? The same networks with the quantiser left out, and what each run
has seen:
''')
b.code('''
losses = []
for row in resnet:
    network = codec_lib.load("ae-resnet18", int(row["B"])).network
    bare = inspection.mean_psnr(photos, lambda x, n=network: n.decode(n.encode(x)), network.downscale)
    losses.append({"B": row["B"], "files": row["psnr"], "without the quantiser": bare})
plotting.save_table(losses, f"00_quantiser_{dataset_name}", figures)
print(tables.to_text(losses, digits={"B": 0, "files": 1, "without the quantiser": 1}))
''')
b.code('''
seen, began = [], {"resnet4": "the end of resnet1", "resnet10": "the end of resnet2"}
for name in ("resnet1", "resnet4", "resnet2", "resnet10"):
    end = runs[name][-1]
    crops = end["step"] * end["batch_size"]
    row = {"run": name, "B": end["B"], "began at": began.get(name, "random weights"), "steps": end["step"]}
    seen.append(row | {"crops": crops, "megapixels": crops * end["crop"] ** 2 / 1e6})
plotting.save_table(seen, "00_resnet18_training", figures)
print(tables.to_text(seen, digits=0))
''')
b.md('''
The quantiser costs next to nothing, so it is the networks: they saw thousands of crops for minutes on one CPU core. The
second report trained on 17,000 photographs for at least five epochs, the third on 130,000.

Beware of the rows for B = 4 and B = 10. They began at the weights for B = 1 and B = 2 and trained on, so whatever they
gain may be the extra steps and not the bits. Only this can be said: where the networks are the limit, more bits for the
same numbers buy rate and hardly any quality.

## All of them against JPEG, and against a learned density
''')
b.code('''
curves = {row["model"]: [row] for row in table if row["model"] not in ("ae-vector", "ae-resnet18")}
for pair in ((1, 4), (2, 10)):  # of 512 and of 128 numbers for each 32x32 pixels
    curves[f"ae-resnet18, B = {pair[0]} and {pair[1]}"] = [row for row in resnet if row["B"] in pair]
curves["JPEG"] = measurements.curve("JPEG", dataset, measured, progress=False)
rated = [codec_lib.load("factorized", q) for q in (1, 2, 3, 4)]
rows = [measurements.pictures(codec, dataset, None, measured, progress=False) for codec in rated]
curves["factorized"] = [evaluation.summary(of_one) for of_one in rows]
''')
b.code('''
figure = plotting.rate_distortion(curves, title=dataset_name, up_to=3)
plotting.save(figure, f"00_rate_distortion_{dataset_name}", figures)
plotting.show()
points = [{"codec": name, "bpp": r["bpp"], "psnr": r["psnr"]} for name, rows in curves.items() for r in rows]
plotting.save_table(curves["JPEG"], f"00_jpeg_{dataset_name}", figures)
plotting.save_table(points, f"00_rate_distortion_{dataset_name}", figures)
''')
b.md('''
## What it means

- **A code is a probability model.** Arithmetic coding reaches the entropy of whatever model it is given. Huffman coding
  stays somewhat above it; an adaptive coder goes below the entropy of plain counts because its model is better.
- **Stride beats max-pooling** here, clearly. Residual blocks, and noise against straight-through rounding, differ by
  less than single runs can tell.
- **The variational autoencoder failed** for two reasons: a weight that makes detail too dear, and a vector where a map
  belongs.
- **Against JPEG all of them lose** at the same size, and `factorized`, the codec of notebook 02, does not. The two
  differ in more than one way: its transforms are larger, began at a classical transform and were trained for longer,
  *and* its training knew what each symbol would cost. Notebook 01 builds the model that says so.

Train your own, and use them:

```
python -m codec_lib train --model ae-strided --bits 2 --straight-through --optimiser muon --minutes 5 --out runs/mine
python -m codec_lib encode photo.png photo.cbk --model ae-strided --bits 2 --lossless huffman --weights runs/mine
python -m codec_lib decode photo.cbk photo.png --weights runs/mine
```
''')
b.exercises((
'''A coder believes `wrong = [1/3, 1/3, 1/3]` about the 1,000 symbols above, which came with `p = [0.95, 0.04, 0.01]`.
Predict its bits per symbol with pencil and paper, then run `encode` with the wrong opinion. Which opinion would make
the file even longer than two bits for each symbol?''',
r'''The cost is the cross-entropy $\sum p \log_2 (1/q) = \log_2 3 = 1.585$ bits, whatever $p$ is: the entropy, about 0.32
bits, and a Kullback-Leibler divergence of about 1.26. An opinion that thinks the likely symbol rare, such as $q = [0.1,
0.45, 0.45]$, pays $-\log_2 0.1 = 3.3$ bits for almost every symbol. The sample's costs differ a little from the
expectation.''',
'''
for q in ([1, 1, 1], [2, 9, 9], [95, 4, 1]):
    believed = [Fraction(x, sum(q)) for x in q]
    expected = -sum(float(a) * math.log2(b) for a, b in zip(p, believed, strict=True))
    bits = len(encode(message, believed)) / len(message)
    print(f"{[f'{float(x):.2f}' for x in believed]}: expected {expected:.2f}, measured {bits:.2f} bits per symbol")
'''), (
'''Rescue the Huffman code: code *pairs* of symbols, of which there are nine, with one word each. How near to the entropy
does that come for the message above? And triples? What is the price?''',
'''The waste of at most one bit is now shared by two or three symbols. The price is the table: the alphabet grows as
$3^n$, and each word must be known to the decoder. Arithmetic coding gets the same without any table of blocks. (With
counts from the message itself, and without the tables, the figures even flatter the Huffman code.)''',
'''
for n in (1, 2, 3):
    blocks = np.array(message[: len(message) // 6 * 6]).reshape(-1, n) @ 3 ** np.arange(n)
    words = Huffman.from_sequence(blocks, 3**n).codes
    bits = sum(len(words[s]) for s in blocks) / (n * len(blocks))
    print(f"blocks of {n}: {3**n:2} words, {bits:.2f} bits per symbol; entropy {entropy(np.array(message)):.2f}")
'''), (
r'''Minimise $(\mathrm{round}(y) - 3)^2$ over $y$ by gradient descent from $y = 0.2$, with a learning rate of 0.1 and 100
steps: once with rounding as it is, once with `quantization.straight_through`, once with `quantization.add_noise`.
Where does each end, and where do the rounded values end?''',
r'''With rounding as it is nothing moves: its gradient is zero. The straight-through gradient moves $y$ until the rounded value
is 3 and then stops, anywhere in that bin. With noise $y$ comes to 3 and keeps trembling around it; $(y + u - 3)^2$ has
its smallest mean there. Noise pulls towards the middle of a bin, straight-through only into it.''',
'''
torch.manual_seed(0)
ways = {
    "rounding": torch.round,
    "straight-through": lambda y: quantization.straight_through(y, torch.round(y)),
    "noise": quantization.add_noise,
}
for name, quantise in ways.items():
    y = torch.tensor(0.2, requires_grad=True)
    for _ in range(100):
        (slope,) = torch.autograd.grad((quantise(y) - 3) ** 2, y)
        y = (y - 0.1 * slope).detach().requires_grad_()
    print(f"{name:16} y = {y.item():.1f}, rounded {y.round().item():.0f}")
'''))
b.md('''
## Read on

- C. E. Shannon, *A mathematical theory of communication*, Bell System Technical Journal, 1948: entropy, and why nothing
  goes below it.
- D. A. Huffman, *A method for the construction of minimum-redundancy codes*, Proceedings of the IRE, 1952.
- I. H. Witten, R. M. Neal, J. G. Cleary, *Arithmetic coding for data compression*, Communications of the ACM, 1987: the
  integer coder, with an adaptive model.
- D. P. Kingma, M. Welling, *Auto-encoding variational Bayes*, ICLR 2014.
- L. Theis, W. Shi, A. Cunningham, F. Huszár, *Lossy image compression with compressive autoencoders*, ICLR 2017: the
  straight-through gradient for rounding.
- K. He, X. Zhang, S. Ren, J. Sun, *Deep residual learning for image recognition*, CVPR 2016: ResNet-18.
- Z. Wang, E. P. Simoncelli, A. C. Bovik, *Multiscale structural similarity for image quality assessment*, Asilomar
  Conference on Signals, Systems and Computers, 2003: MS-SSIM.
''')
b.write()
