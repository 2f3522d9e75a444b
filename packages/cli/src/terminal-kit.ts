/** The terminal output of the command, for programs that want to look like it. */
export { describeReport } from './commands/train.js';
export { listenForInterrupt } from './interrupt.js';
export { installProgress, trainingProgress } from './progress.js';
export { createTerminal, errorAsJson, errorAsText, terminalLogger } from './terminal.js';
