import { describe, expect, it } from 'vitest';
import { explainEnd, type MemoryObservation } from './observation.js';

const observation = (more: Partial<MemoryObservation> = {}): MemoryObservation => ({
  residentBytes: 3e9,
  limit: { origin: 'of the cgroup /sys/fs/cgroup/job', limitBytes: 4e9, usedBytes: 3.1e9 },
  boot: 'one',
  kills: [
    { where: 'the cgroup /sys/fs/cgroup/job', count: 1 },
    { where: 'this machine', count: 5 },
  ],
  ...more,
});
const kills = (cgroup: number, machine: number): MemoryObservation['kills'] => [
  { where: 'the cgroup /sys/fs/cgroup/job', count: cgroup },
  { where: 'this machine', count: machine },
];

describe('explainEnd', () => {
  it('names a lack of memory as probable if the kernel killed a process of the cgroup', () => {
    expect(explainEnd(observation(), { boot: 'one', kills: kills(2, 6) })).toEqual({
      text:
        'It last used 3.0 GB of memory. 3.1 GB of the limit of the cgroup /sys/fs/cgroup/job, 4.0 GB, were in use. ' +
        'Since then, the kernel has killed a process in the cgroup /sys/fs/cgroup/job because its memory was ' +
        'exhausted, so this one was probably killed for lack of memory.',
      isMemory: true,
    });
  });

  it('or if the limit was nearly reached', () => {
    const limit = { origin: 'of this machine', limitBytes: 4e9, usedBytes: 3.8e9 };
    const { text, isMemory } = explainEnd(observation({ limit }), { boot: 'one', kills: kills(1, 5) });
    expect(text).toMatch(/were in use\. It probably ended for lack of memory\.$/);
    expect(isMemory).toBe(true);
  });

  it('or if it was expected, because a library can end a process whose next allocation is too large', () => {
    const shortage = { neededBytes: 9e9, usableBytes: 4e9, origin: 'of this process (ulimit -v)' };
    const { text, isMemory } = explainEnd(observation(), { boot: 'one', kills: kills(1, 5) }, shortage);
    expect(text).toContain(
      'It was expected to need 9.0 GB of the limit of this process (ulimit -v), of which it could',
    );
    expect(text).toMatch(/could use 4\.0 GB, so it probably ended for lack of memory\.$/);
    expect(isMemory).toBe(true);
  });

  it.each([
    ['nothing points to it', observation(), { boot: 'one', kills: kills(1, 5) }],
    // A new cgroup of the same name starts at 0.
    ['the cgroup is a new one', observation(), { boot: 'one', kills: kills(0, 5) }],
    ['the cgroup was not observed', observation({ kills: [] }), { boot: 'one', kills: kills(9, 9) }],
  ])('says that the reason is unknown if %s', (_, before, now) => {
    const { text, isMemory } = explainEnd(before, now);
    expect(text).toMatch(/were in use\. Why it ended is unknown\.$/);
    expect(text).not.toContain('probably');
    expect(isMemory).toBe(false);
  });

  it('does not claim that a process that was killed elsewhere on the machine was this one', () => {
    const { text, isMemory } = explainEnd(observation(), { boot: 'one', kills: kills(1, 7) });
    expect(text).toMatch(/killed 2 processes on this machine .*; it is unknown whether this was one of them/);
    expect(isMemory).toBe(true);
  });

  it('says that the machine was restarted, whose counts mean nothing then', () => {
    const { text, isMemory } = explainEnd(observation(), { boot: 'two', kills: kills(9, 9) });
    expect(text).toMatch(/The machine has been restarted since then\.$/);
    expect(isMemory).toBe(false);
  });

  it('says that nothing is known without an observation', () => {
    expect(explainEnd(null, { boot: null, kills: [] }).text).toBe('Why it ended is unknown, and so is its memory.');
  });
});
