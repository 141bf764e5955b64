"""Stand-ins for DCM4CHE's storescp, findscu and movescu, on pynetdicom and pydicom."""
