import { expect, test } from 'vitest';
import { pcSerial, ready, useRealImages, virtualPc } from '../test/support/guests.ts';
import { cardless, startLab } from '../test/support/lab-server.ts';

const image = 'hpc';
/** In what order two ranks speak is chance. */
const hello = ['hello from rank 0 of 2 on pc1', 'hello from rank 1 of 2 on pc1'];

test('a node of hpc is a cluster of one: MUNGE, Slurm and a job of two MPI ranks', async () => {
  // Not by the lab's server, which has no way to a mirror.
  const built = await cardless(['image', 'build', image, '--arch', 'amd64']);
  expect(built.code, built.stderr).toBe(0);
  await using lab = await startLab('hpc');
  await useRealImages(lab);
  const added = await cardless(['--state', lab.state, 'node', 'add', 'pc1', '--serial', pcSerial, '--image', image]);
  expect(added.code, added.stderr).toBe(0);
  const ssh = (line: string): Promise<string> => lab.server.ssh('pc1', line, new AbortController().signal);
  await using pc = virtualPc(lab);
  await pc.powerOn();
  await ready(lab.server, 'pc1', pc);
  expect(await ssh('munge -n | unmunge && slurmd -C')).toMatch(/^STATUS: +Success.*\nNodeName=pc1 CPUs=\d+ /s);
  // The node has one processor for the two of them.
  const byHand = await ssh('mpirun --allow-run-as-root --oversubscribe -n 2 /usr/local/bin/hello-mpi');
  expect(byHand.split('\n').toSorted()).toEqual(hello);
  const job = 'timeout 120 sbatch --quiet --wait --ntasks 2 --overcommit /usr/local/share/hpc/hello.sbatch';
  expect((await ssh(`${job}; echo "exit code $?"; cat hello-mpi.out`)).split('\n').toSorted()).toEqual(['exit code 0', ...hello]);
});
