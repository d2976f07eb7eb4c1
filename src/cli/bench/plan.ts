/** How much is measured, and for how long. */
import type { DhcpPlan } from './dhcp-cells.ts';
import type { StormCell } from './storm-cells.ts';
import type { TftpPlan } from './tftp-cells.ts';

export interface Plan {
  readonly tftp: TftpPlan;
  readonly dhcp: DhcpPlan;
  readonly storm: readonly StormCell[];
}

const fullPlan: Plan = {
  tftp: {
    clients: [1, 8, 64, 200],
    blksizes: [1468, 512],
    windowClients: [1, 8, 64],
    seconds: 1.5,
    rounds: 3,
    fairnessClients: 64,
    faultBytes: 10_000_000,
    // A tenth of it is more than the loss alone costs a client that is served from the round trip.
    faultLimitSeconds: 90,
    faultRuns: 3,
  },
  dhcp: { clients: [250, 4000], rounds: 3, trialSeconds: 0.8, firstLeasesLimitSeconds: 60 },
  storm: [
    {
      model: 'pi4',
      count: 200,
      mode: 'full',
      bandwidth: '1gbit',
      bootBytes: '40M',
      fileTimeout: '120s',
      note: 'TFTP_FILE_TIMEOUT is 120 s: within the default of 30 s this line cannot carry the kernel to 200 boards',
      plannedSeconds: 90,
    },
    {
      model: 'pi4',
      count: 200,
      mode: 'full',
      bandwidth: '100mbit',
      bootBytes: '4M',
      fileTimeout: '120s',
      note: '4 MB each in place of 40, which would take 11 minutes; TFTP_FILE_TIMEOUT is 120 s',
      plannedSeconds: 75,
    },
    { model: 'pi3b', count: 48, mode: 'proxy', bandwidth: '1gbit', bootBytes: '4M', plannedSeconds: 40 },
  ],
};

const quickPlan: Plan = {
  tftp: { ...fullPlan.tftp, seconds: 0.7, rounds: 1, faultLimitSeconds: 10, faultRuns: 1 },
  dhcp: { ...fullPlan.dhcp, clients: [250], rounds: 1, trialSeconds: 0.5, firstLeasesLimitSeconds: 10 },
  storm: [
    {
      model: 'pi4',
      count: 20,
      mode: 'full',
      bandwidth: '1gbit',
      bootBytes: '40M',
      note: '20 boards in place of 200',
      plannedSeconds: 15,
    },
  ],
};

const tinyPlan: Plan = {
  tftp: {
    clients: [2],
    blksizes: [1468],
    windowClients: [2],
    seconds: 0.2,
    rounds: 1,
    fairnessClients: 2,
    faultBytes: 30_000,
    faultLimitSeconds: 10,
    faultRuns: 1,
  },
  dhcp: { clients: [5], rounds: 1, trialSeconds: 0.1, firstLeasesLimitSeconds: 10 },
  storm: [{ model: 'pi4', count: 1, mode: 'full', bandwidth: '1gbit', bootBytes: '1M', note: 'one board', plannedSeconds: 5 }],
};

const plans = { full: fullPlan, quick: quickPlan, tiny: tinyPlan } as const;

export function planOf(size: keyof typeof plans, rounds: number | undefined): Plan {
  const plan = plans[size];
  return rounds === undefined ? plan : { ...plan, tftp: { ...plan.tftp, rounds }, dhcp: { ...plan.dhcp, rounds } };
}
