"""The words around the tables of docs/results/simulation.md."""

HEAD = """\
# Simulation: elastic scheduling beside the paper

**{note}** Made by
`{command}`;
the same command gives the same bytes.

Eight A800 (A100 with a slower NVLink), one instance each, Qwen2.5-VL-7B. Each run is
{duration:.0f} s of Poisson arrivals, of which the last 70 % are measured, with {seeds} seeds; ±
is half a 95 % interval over the seeds. Half of the requests carry a picture (an assumption: the
paper does not say). The SLO of scale 1 allows ten times the mean TTFT and the mean time per
token of requests that meet an empty system, by modality; a rate is *carried* when at least
{least} of its requests meet it, on the straight line between two simulated rates. How it is
modelled: [simulator.md](../simulator.md).
"""
REDUCED = """
**A reduced size:** shorter than `make results-simulation`, which simulates {full:.0f} s with three
seeds. In {duration:.0f} s the allocation by burst tolerance, once a minute, hardly acts, and the
intervals of few seeds are wide. A rate that is too much for a cluster can look carried, because the
queues have no time to grow.
"""
PAPER = """
*At most*: the largest ratio over the rates that elastic scheduling carries, or over the SLO
scales 1 to 5, as the paper's "up to" reads. TTFT is normalised by input tokens. The paper's
figures are second-hand. The causes of the differences are in the last section.
"""
ANTIPHASE = """
A stationary load is the best case of a static split that was chosen with hindsight. Here the
two modalities follow sines in opposite phase, two periods in a run; the rate is the mean.
Carried requests per second:
"""
ABLATIONS = """
One part taken away at a time, sharegpt4o: the ablations of the paper's Fig. 7 and 8, which give no
absolute numbers.
"""
SWITCHES = """
What the scheduler adds to the printed equations, switched off one by one, and all at once
(`elasticmm-literal`); the reasons are in [scheduling.md](../scheduling.md). Left, sharegpt4o at a
steady {rate:g} requests/s; right, the burst of pictures of the next section:
"""
SWITCHES_AFTER = """
A line that equals the first one shows that the switch does not decide anything here: the way back,
for example, costs two flips of 50 ms, which is nothing beside the seconds of a queue; it matters
where a change of role costs more.
"""
BURST = """
Text at a steady rate; pictures jump to eight times theirs for the middle fifth of the run
({rate:g} requests/s before the step, a fifth of them with pictures). p99 TTFT of what arrives
before the step and during it:
"""
BURST_AFTER = """
The requirement is a ratio of at most 1.5 for text under groups. *Fully shared* is the same
scheduler with isolation 0, where nothing but the fair queue keeps pictures from going first.
"""
STATIONARY = """
Nothing changes in these runs but the random numbers, so that every flip beyond the first ones
is noise that the hysteresis, the dwell time and the bound on moves have to damp. Moves are
counted over a run and scaled to an hour. The bound holds for any hour, and a quarter of it may be
spent at once, so a short run can exceed its share. Beyond the rate that is carried there is no
right split: the bottleneck is moved around between stages that are all too small.
"""
CAUSES = """
The model was not fitted to the paper's ratios. Each line changes one assumption and leaves the
rest:
"""
CAUSES_AFTER = """
1. **The baseline is faster than the paper's.** Times are those of CUDA kernels (measured
   operator tables), for the baseline too. The paper observes that encoding a picture takes more
   than five times its prefill. By the measured kernels it takes {encode_share:.1f} times its
   prefill: {tokens:,} visual tokens are {encode_ms:.0f} ms of encode and {prefill_ms:.0f} ms of
   prefill on this GPU. Vision towers of that time ran without fused attention, without CUDA
   graphs, one picture after another. The last line of the table slows the tower to what the
   paper observed, for both systems.
2. **Disaggregation moves work, it does not remove it.** A coupled engine under a balanced load
   keeps all eight GPUs busy with whatever is there. What elastic scheduling can save is the
   interference between stages, the second encode of a picture that was seen before, and the CPU
   time of preprocessing that the old engine spends while the GPU waits. These bound the gain in
   throughput under this cost model, whatever the policy.
3. **The router in front of the baseline.** Here it sends a request to the instance with the
   least unfinished tokens, which balances decoding more than the waiting for a first token; the
   second line of the table shows the same engines behind a round-robin proxy. Which one the
   paper used is not known to us.
4. **The mix is assumed.** The share of text and the sizes of prompts, answers and pictures are
   drawn from published summaries, not from the paper's files.
5. **Small groups are coarse.** On eight instances a group of three cannot match its work to its
   stages by whole instances: what is left over in one stage is missing in another. Coupled
   engines have no such remainder.
6. **A coupled step reads the weights once.** A chunk of a prompt beside the decoding batch pays
   the constant part of a step, {step_ms:.0f} ms here, for both. On instances of their own, each
   prefill and each decode step pays it: {step_share:.0%} of the prefill of that picture.
7. **In overload, isolation and coupling fail in different ways**, and the throughput counts only
   one of them. Elastic groups keep text within its SLO and let pictures wait; coupled engines let
   everybody wait a little longer. A rate is carried when {least:.0%} of *all* requests meet the
   SLO, so that a cluster which serves one modality perfectly and the other late carries nothing.
8. **A static split chosen with hindsight is hard to beat when nothing changes**, and the
   elastic run pays for finding that split: the measured part begins after 30 % of each run for
   that reason. Under load that changes, see the section on opposite phases.
"""
