#!/usr/bin/env node
import { exitOnClosedPipe } from '@whetstone/core/util';
import { runCommandLine } from './command-line.js';

exitOnClosedPipe();
process.exitCode = await runCommandLine(process.argv.slice(2));
