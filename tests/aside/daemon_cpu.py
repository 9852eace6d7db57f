import os,subprocess,sys,time,tempfile,shutil,hashlib
def cpu(pid):
    f=open(f"/proc/{pid}/stat").read().rsplit(")",1)[1].split(); return (int(f[11])+int(f[12]))/100
def once(binary, name, res):
    base=tempfile.mkdtemp(dir="/dev/shm"); v=base+"/v"; m=base+"/m"; os.mkdir(m); pf=base+"/p"; open(pf,"w").write("x\n")
    env=dict(os.environ, XDG_STATE_HOME=base+"/s")
    subprocess.run([binary,"init","--passfile",pf,"--kdf-mem","8","--kdf-ops","1",v],check=True,stdout=subprocess.DEVNULL,env=env)
    def mount():
        p=subprocess.Popen([binary,"mount","-f","--passfile",pf,v,m],env=env,stderr=subprocess.DEVNULL)
        while not os.path.ismount(m): time.sleep(.01)
        return p
    def um(p):
        subprocess.run(["umount",m],check=True); p.wait()
    def t(what,fn,p):
        c=cpu(p.pid); w=time.time(); fn(); r=res.setdefault(what,{}).setdefault(name,[]); r.append((time.time()-w, cpu(p.pid)-c))
    p=mount()
    def create():
        for d in range(10):
            os.mkdir(f"{m}/d{d}")
            for i in range(600):
                with open(f"{m}/d{d}/f{i}","wb") as f: f.write(b"x"*1000)
    t("create6000",create,p)
    def seqw():
        with open(m+"/big","wb",buffering=0) as f:
            b=os.urandom(1<<20)
            for _ in range(256): f.write(b)
            os.fsync(f.fileno())
    t("write256M",seqw,p)
    def cp(): subprocess.run(["cp","--sparse=never",m+"/big",m+"/big2"],check=True)
    t("copy256M",cp,p)
    um(p); p=mount()
    def read():
        with open(m+"/big","rb",buffering=0) as f:
            while f.read(1<<20): pass
    t("read256M",read,p)
    def md5():
        for d in range(10):
            for i in range(600):
                with open(f"{m}/d{d}/f{i}","rb") as f: f.read()
    t("readall6000",md5,p)
    def rnd():
        import random; r=random.Random(1); fd=os.open(m+"/big",os.O_RDWR)
        for i in range(4000):
            os.pwrite(fd,b"y"*4096,r.randrange(65536)*4096)
            if i%64==0: os.fsync(fd)
        os.fsync(fd); os.close(fd)
    t("randwrite4000",rnd,p)
    t("rm",lambda: subprocess.run(["rm","-r"]+[f"{m}/d{d}" for d in range(10)],check=True),p)
    um(p); shutil.rmtree(base)
res={}
bins=dict(a.split("=") for a in sys.argv[2:])
for k in range(int(sys.argv[1])):
    for n,b in bins.items(): once(b,n,res)
for w,r in res.items():
    print(f"{w:14}", "  ".join(f"{n}: wall {sorted(x[0] for x in v)[len(v)//2]:.2f} cpu {sorted(x[1] for x in v)[len(v)//2]:.2f} min {min(x[1] for x in v):.2f}" for n,v in r.items()))
