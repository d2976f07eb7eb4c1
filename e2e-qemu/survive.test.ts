/**
 * What nodes live through. All of it in one file, because it takes ten minutes anyhow and the rest fits beside them: first
 * the long outage (1 guest), the outages of eight, and the three that go down (4 guests), then the late writes (4 guests).
 */
import './survive/outages.ts';
import './survive/restarts.ts';
import './survive/hazards.ts';
