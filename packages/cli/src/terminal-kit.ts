/** What the command draws with, for programs that want to look like it. */
export { describeReport } from './commands/train.js';
export { bytes, duration, loss, rate, table } from './format.js';
export { listenForInterrupt, type Interrupt } from './interrupt.js';
export { installProgress, trainingProgress, type TrainingProgress } from './progress.js';
export { createTerminal, errorAsJson, errorAsText, terminalLogger, type Terminal } from './terminal.js';
