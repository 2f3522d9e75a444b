import type { RunProgress } from './progress.js';
import type { TrainRun } from './train-run.js';

/**
 * Merges the requests of the callbacks of all workers, so that all workers fulfil the same ones, and sets the requested
 * learning rate. If a rollback is requested, the learning rate is set after it.
 */
export async function agreeOnRequests(
  { hooks: { requests }, logger, workers }: TrainRun,
  progress: RunProgress,
  what: string,
): Promise<void> {
  for (const each of await workers.gather(what, requests.takeAll())) requests.merge(each);
  if (requests.rollbackReason !== null) return;
  const learningRate = requests.takeLearningRate();
  if (learningRate === null) return;
  progress.change({ learningRate });
  logger.info(`The learning rate is ${learningRate.value} from the next step on: ${learningRate.reason}`);
}
