// Prints `N passed, N failed, N skipped` for reports of vitest's JSON reporter. A report that is not there counts
// nothing: its run has failed before the tests.
import { existsSync } from 'node:fs';
import { countTests, readReport } from './report.mjs';

const reports = process.argv.slice(2).filter((path) => existsSync(path));
const { passed, failed, skipped } = countTests(reports.map(readReport));
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
