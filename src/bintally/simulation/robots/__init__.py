"""A fleet of robots as load for a running service, over HTTP and MQTT, that checks what it is answered.

```
settings.py   how many robots, how often they photograph, what goes wrong on the way
route.py      a robot's stops: when, at which bin, which photo; all follow from the seed
bins.py       codes of the ledger's bins
pool.py       photos that are made before the drive, each under a name of its own
book.py       which photo was taken, sent and answered when, and whether once
http_door.py  a robot that asks over HTTP
link.py       a connection to a broker that is kept up
mqtt_door.py  a robot that asks over MQTT
probe.py      whether there is anything to ask
fleet.py      the drive
report.py     its figures
ramp.py       the largest fleet that a service carries
page.py       plots, and the page
run.py        what `bintally simulate --robots` calls
```
"""
