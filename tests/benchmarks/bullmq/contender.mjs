// BullMQ as a contender: `node contender.mjs publish|work ...`, told by the same environment as every contender.
import { writeSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { Queue, Worker } from "bullmq";

const [task, ...options] = process.argv.slice(2);
const connection = { host: "127.0.0.1", port: Number(process.env.BENCH_REDIS) };
const name = process.env.BENCH_QUEUE;
const jobs = Number(process.env.BENCH_JOBS);
const text = "x".repeat(140);

const now = () => Number(process.hrtime.bigint());
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};
const report = (fields) => writeSync(Number(process.env.BENCH_REPORT_FD), JSON.stringify(fields) + "\n");
const payload = (subject) => ({ to: ["someone@example.org"], subject: String(subject), text });
// What is done must not fill redis, and a failure comes back after 0.1 s, as in the other contenders.
const kept = { removeOnComplete: true, attempts: 10_000, backoff: { type: "fixed", delay: 100 } };

// Each publishes all jobs and returns when redis has them.
const ways = {
  async one(queue) {
    for (let job = 0; job < jobs; job++) await queue.add("job", payload(job), kept);
  },
  async flight(queue, width) {
    let next = 0;
    const one = async () => {
      while (next < jobs) await queue.add("job", payload(next++), kept);
    };
    await Promise.all(Array.from({ length: Number(width) }, one));
  },
  async bulk(queue, size) {
    for (let start = 0; start < jobs; start += Number(size)) {
      const count = Math.min(Number(size), jobs - start);
      await queue.addBulk(Array.from({ length: count }, (_, at) => ({ name: "job", data: payload(start + at), opts: kept })));
    }
  },
  // So many a second; the subject says when each was published.
  async paced(queue, rate) {
    const began = now();
    const under_way = [];
    for (let job = 0; job < jobs; job++) {
      const wait = began / 1e6 + (job * 1000) / Number(rate) - now() / 1e6;
      if (wait > 0) await pause(wait);
      under_way.push(queue.add("job", payload(process.hrtime.bigint()), kept));
    }
    await Promise.all(under_way);
  },
};

async function publish(way, option) {
  const queue = new Queue(name, { connection });
  await queue.waitUntilReady();
  const first = await queue.add("job", payload(0), kept); // as the other publishers, it has a connection when it begins
  await first.remove();
  report({ at: now(), cpu: cpu() });
  await ways[way](queue, option);
  report({ at: now(), cpu: cpu() });
  await queue.close();
}

// Runs jobs until they are counted: `failing` percent of them fail once. Where they are `timed` their subjects say when
// they were published.
async function work(concurrency, failing, timed) {
  const findings = timed ? { waits_ns: [] } : {};
  let done = 0;
  let began = false;
  const run = async (job) => {
    findings.waits_ns?.push(now() - Number(job.data.subject));
    if (!began) report({ at: now(), cpu: cpu() });
    began = true;
    if (Number(job.id) % 100 < Number(failing) && job.attemptsMade === 0) throw new Error("the first attempt fails");
    if (++done === jobs) report({ at: now(), cpu: cpu(), ...findings });
  };
  const worker = new Worker(name, run, { connection, concurrency: Number(concurrency) });
  worker.on("failed", () => {});
  process.once("SIGTERM", async () => {
    await worker.close(true);
    process.exit(0);
  });
}

await { publish, work }[task](...options);
