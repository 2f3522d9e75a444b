/** Something that is measured several times, such as Whetstone or a peer with certain settings. */
export interface Contender<Result> {
  readonly name: string;
  measure(): Promise<Result>;
}

/**
 * Measures all contenders once, then all of them again, until each was measured `runs` times. A change in the machine's
 * load therefore affects all of them.
 *
 * @returns the results of each contender, in the order of the contenders
 */
export async function measureInTurns<Result>(
  contenders: readonly Contender<Result>[],
  runs: number,
  onResult: (name: string, run: number) => void = tellProgress(runs),
): Promise<readonly (readonly Result[])[]> {
  const results = contenders.map((): Result[] => []);
  for (let run = 1; run <= runs; run++) {
    for (const [index, { name, measure }] of contenders.entries()) {
      results[index]?.push(await measure());
      onResult(name, run);
    }
  }
  return results;
}

const tellProgress =
  (runs: number) =>
  (name: string, run: number): void =>
    void process.stderr.write(`run ${run} of ${runs}: ${name}\n`);
